//! Parses values and appends them to their columns.

use std::borrow::Cow;
use std::collections::HashSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::column::{Column, Values};
use crate::cursor::{Cursor, Read, Unusual, each, number_length};
use crate::kinds::{Kind, Name};
use crate::names::Order;
use crate::{numbers, times};

/// The most keys of a map that are checked for duplicates by comparing them all.
const FEW_KEYS: usize = 16;
/// The deepest nesting of a value that is skipped.
const MOST_DEPTH: usize = 32;

impl Column {
    /// Reads the next value; after an error the column must not be used.
    pub fn read(&mut self, text: &mut Cursor<'_>) -> Read<()> {
        if !matches!(self.kind, Kind::Json) && text.take_null()? {
            self.append_null();
            return Ok(());
        }
        match (&self.kind, &mut self.values) {
            (Kind::Boolean, Values::Bits(bits)) => bits.append(text.boolean()?),
            (Kind::Int32, Values::Int32(numbers)) => numbers.push(int32(text.integer()?)?),
            (Kind::Int64, Values::Int64(numbers)) => numbers.push(text.integer()?),
            (Kind::Double, Values::Double(numbers)) => numbers.push(read_double(text, numbers::double)?),
            (Kind::LooseDouble, Values::Double(numbers)) => numbers.push(read_loose_double(text)?),
            (&Kind::Decimal { precision, scale, rounded }, Values::Decimal(numbers)) => {
                numbers.push(numbers::decimal(text.number()?, precision.into(), scale.into(), rounded)?);
            }
            (&Kind::LooseDecimal { precision, scale }, Values::Decimal(numbers)) => {
                let digits = loose_number(text)?;
                numbers.push(numbers::decimal(&digits, precision.into(), scale.into(), false)?);
            }
            (Kind::EpochDays, Values::Int32(numbers)) => numbers.push(int32(text.integer()?)?),
            (Kind::Date, Values::Int32(numbers)) => numbers.push(int32(match text.peek() {
                b'"' => times::epoch_days(&text.string()?)?,
                _ => text.integer()?,
            })?),
            (Kind::Timestamp, Values::Int64(numbers)) => numbers.push(match text.peek() {
                b'"' => times::epoch_us(&text.string()?)?,
                _ => read_epoch_ms(text)?,
            }),
            (Kind::EpochMs, Values::Int64(numbers)) => numbers.push(read_epoch_ms(text)?),
            (Kind::Time, Values::Bytes(ends, bytes)) => {
                let ms = match text.peek() {
                    b'"' => times::day_ms(&text.string()?)?,
                    _ => text.integer()?,
                };
                append_bytes(ends, bytes, &times::time_text(ms)?)?;
            }
            (Kind::DayMs, Values::Bytes(ends, bytes)) => {
                append_bytes(ends, bytes, &times::time_text(text.integer()?)?)?;
            }
            (Kind::Text, Values::Bytes(ends, bytes)) => append_bytes(ends, bytes, &text.string()?)?,
            (Kind::LooseText, Values::Bytes(ends, bytes)) => append_bytes(ends, bytes, &loose_text(text)?)?,
            (Kind::Base64, Values::Bytes(ends, bytes)) => {
                STANDARD.decode_vec(text.string()?, bytes).map_err(|_| Unusual)?;
                ends.push(int32(bytes.len() as i64)?);
            }
            (Kind::Json, Values::Bytes(ends, bytes)) => append_bytes(ends, bytes, text.value()?)?,
            (Kind::List(_), Values::List(ends, inner)) => {
                text.expect(b'[')?;
                each(text, b']', |text| inner.read(text))?;
                ends.push(int32(inner.len() as i64)?);
            }
            (Kind::Map(..), Values::Map(ends, keys, inner)) => {
                if text.peek() == b'{' {
                    read_object(text, keys, inner)?;
                } else {
                    read_pairs(text, keys, inner)?;
                }
                ends.push(int32(keys.len() as i64)?);
            }
            (Kind::Struct(names, _), Values::Struct(fields, _)) => read_fields(text, names, fields)?,
            (Kind::LooseStruct(names, _), Values::Struct(fields, order)) => {
                read_declared(text, names, fields, order)?;
            }
            _ => return Err(Unusual),
        }
        self.valid.append_non_null();
        Ok(())
    }

    /// Reads a key of a map from its text.
    fn read_key(&mut self, key: &[u8]) -> Read<()> {
        let is_number = number_length(key) == Some(key.len());
        match (&self.kind, &mut self.values) {
            (Kind::Text | Kind::LooseText, Values::Bytes(ends, bytes)) => append_bytes(ends, bytes, key)?,
            (Kind::Boolean, Values::Bits(bits)) if key == b"true" || key == b"false" => bits.append(key == b"true"),
            (Kind::Int32, Values::Int32(numbers)) => numbers.push(int32(numbers::integer(key)?)?),
            (Kind::Int64, Values::Int64(numbers)) => numbers.push(numbers::integer(key)?),
            (Kind::Double, Values::Double(numbers)) if is_number => numbers.push(numbers::double(key)?),
            (&Kind::Decimal { precision, scale, .. }, Values::Decimal(numbers)) if is_number => {
                numbers.push(numbers::decimal(key, precision.into(), scale.into(), false)?);
            }
            _ => return Err(Unusual),
        }
        self.valid.append_non_null();
        Ok(())
    }
}

fn int32(value: i64) -> Read<i32> {
    i32::try_from(value).map_err(|_| Unusual)
}

fn append_bytes(ends: &mut Vec<i32>, bytes: &mut Vec<u8>, value: &[u8]) -> Read<()> {
    bytes.extend_from_slice(value);
    ends.push(int32(bytes.len() as i64)?);
    Ok(())
}

/// In microseconds.
fn read_epoch_ms(text: &mut Cursor<'_>) -> Read<i64> {
    text.integer()?.checked_mul(1000).ok_or(Unusual)
}

fn read_double(text: &mut Cursor<'_>, of_number: impl Fn(&[u8]) -> Read<f64>) -> Read<f64> {
    if text.peek() != b'"' {
        return of_number(text.number()?);
    }
    match text.string()?.as_ref() {
        b"NaN" => Ok(f64::NAN),
        b"Infinity" => Ok(f64::INFINITY),
        b"-Infinity" => Ok(f64::NEG_INFINITY),
        _ => Err(Unusual),
    }
}

/// A map from text; a duplicate key is `Unusual`, because in ksqlDB the last one counts.
fn read_object(text: &mut Cursor<'_>, keys: &mut Column, inner: &mut Column) -> Read<()> {
    let mut seen: Vec<Cow<'_, [u8]>> = Vec::new();
    text.expect(b'{')?;
    each(text, b'}', |text| {
        let key = text.string()?;
        keys.read_key(&key)?;
        text.expect(b':')?;
        inner.read(text)?;
        if seen.len() < FEW_KEYS && seen.contains(&key) {
            return Err(Unusual);
        }
        seen.push(key);
        Ok(())
    })?;
    let is_distinct = seen.len() <= FEW_KEYS || seen.iter().collect::<HashSet<_>>().len() == seen.len();
    if is_distinct { Ok(()) } else { Err(Unusual) }
}

/// A map as a list of pairs, which the server sends where its keys are no text.
fn read_pairs(text: &mut Cursor<'_>, keys: &mut Column, inner: &mut Column) -> Read<()> {
    if matches!(keys.kind, Kind::Text) {
        return Err(Unusual);
    }
    text.expect(b'[')?;
    each(text, b']', |text| {
        text.expect(b'[')?;
        if matches!(text.peek(), b'n' | b'"') {
            return Err(Unusual);
        }
        keys.read(text)?;
        text.expect(b',')?;
        inner.read(text)?;
        text.expect(b']')
    })
}

/// The fields of a struct, each of them once, mostly in their order.
fn read_fields(text: &mut Cursor<'_>, names: &[Name], fields: &mut [Column]) -> Read<()> {
    let (before, mut next) = (fields.first().map_or(0, Column::len), 0);
    text.expect(b'{')?;
    each(text, b'}', |text| {
        let usual = names.get(next).and_then(|name| name.usual.as_ref());
        let place = if usual.is_some_and(|name| text.take_here(name)) {
            next
        } else {
            let name = text.string()?;
            text.expect(b':')?;
            names.iter().position(|wanted| wanted.name[..] == name[..]).ok_or(Unusual)?
        };
        if fields[place].len() != before {
            return Err(Unusual);
        }
        next = place + 1;
        fields[place].read(text)
    })?;
    if fields.iter().all(|field| field.len() == before + 1) { Ok(()) } else { Err(Unusual) }
}

/// A text, or a whole number by its digits.
fn loose_text<'a>(text: &mut Cursor<'a>) -> Read<Cow<'a, [u8]>> {
    if text.peek() == b'"' {
        return text.string();
    }
    let digits = text.number()?;
    numbers::integer(digits).map(|_| Cow::Borrowed(digits))
}

/// The digits of a number, which may be a text.
fn loose_number<'a>(text: &mut Cursor<'a>) -> Read<Cow<'a, [u8]>> {
    if text.peek() != b'"' {
        return text.number().map(Cow::Borrowed);
    }
    let digits = text.string()?;
    if number_length(&digits) == Some(digits.len()) { Ok(digits) } else { Err(Unusual) }
}

/// The reference decides the sign of a negative number that is zero or too small for a double.
fn read_loose_double(text: &mut Cursor<'_>) -> Read<f64> {
    let value = read_double(text, numbers::short_double)?;
    if value == 0.0 && value.is_sign_negative() { Err(Unusual) } else { Ok(value) }
}

/// The declared fields of a struct; other fields are skipped, and missing ones are null.
fn read_declared(text: &mut Cursor<'_>, names: &[Vec<u8>], fields: &mut [Column], order: &mut Order) -> Read<()> {
    let (before, mut at) = (fields.first().map_or(0, Column::len), 0);
    text.expect(b'{')?;
    each(text, b'}', |text| {
        let name = text.string()?;
        let place = order.place(at, &name, names)?;
        at += 1;
        text.expect(b':')?;
        let Some(place) = place else { return text.skip(MOST_DEPTH) };
        if fields[place].len() != before {
            return Err(Unusual);
        }
        fields[place].read(text)
    })?;
    fields.iter_mut().filter(|field| field.len() == before).for_each(Column::append_null);
    Ok(())
}
