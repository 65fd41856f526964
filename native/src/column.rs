//! Values of one column, appended one by one and handed over as an Arrow array.

use std::borrow::Cow;
use std::collections::HashSet;

use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBufferBuilder};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Fields, TimeUnit};

use crate::arrays::{built, field};
use crate::cursor::{Cursor, Read, Unusual, number_length};
use crate::kinds::Kind;
use crate::{base64, numbers, times};

/// Maps of up to so many keys are looked through for one that comes twice.
const FEW_KEYS: usize = 16;

enum Values {
    Bits(BooleanBufferBuilder),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Double(Vec<f64>),
    Decimal(Vec<i128>),
    Bytes(Vec<i32>, Vec<u8>),
    List(Vec<i32>, Box<Column>),
    Map(Vec<i32>, Box<Column>, Box<Column>),
    Struct(Vec<Column>),
}

pub struct Column {
    kind: Kind,
    valid: NullBufferBuilder,
    values: Values,
}

impl Column {
    pub fn new(kind: &Kind) -> Self {
        let values = match kind {
            Kind::Boolean => Values::Bits(BooleanBufferBuilder::new(0)),
            Kind::Int32 | Kind::Date => Values::Int32(Vec::new()),
            Kind::Int64 | Kind::Timestamp | Kind::EpochMs => Values::Int64(Vec::new()),
            Kind::Double => Values::Double(Vec::new()),
            Kind::Decimal { .. } => Values::Decimal(Vec::new()),
            Kind::Text | Kind::Base64 | Kind::Time | Kind::Json => Values::Bytes(vec![0], Vec::new()),
            Kind::List(inner) => Values::List(vec![0], Box::new(Column::new(inner))),
            Kind::Map(key, inner) => Values::Map(vec![0], Box::new(Column::new(key)), Box::new(Column::new(inner))),
            Kind::Struct(_, fields) => Values::Struct(fields.iter().map(Column::new).collect()),
        };
        Column { kind: kind.clone(), valid: NullBufferBuilder::new(0), values }
    }

    fn len(&self) -> usize {
        self.valid.len()
    }

    fn append_null(&mut self) {
        self.valid.append_null();
        match &mut self.values {
            Values::Bits(bits) => bits.append(false),
            Values::Int32(numbers) => numbers.push(0),
            Values::Int64(numbers) => numbers.push(0),
            Values::Double(numbers) => numbers.push(0.0),
            Values::Decimal(numbers) => numbers.push(0),
            Values::Bytes(ends, _) | Values::List(ends, _) | Values::Map(ends, ..) => ends.push(ends[ends.len() - 1]),
            Values::Struct(fields) => fields.iter_mut().for_each(Column::append_null),
        }
    }

    /// Reads the value that comes next; after an error the column is of no use.
    pub fn read(&mut self, text: &mut Cursor<'_>) -> Read<()> {
        if !matches!(self.kind, Kind::Json) && text.take_null()? {
            self.append_null();
            return Ok(());
        }
        match (&self.kind, &mut self.values) {
            (Kind::Boolean, Values::Bits(bits)) => bits.append(text.boolean()?),
            (Kind::Int32, Values::Int32(numbers)) => numbers.push(int32(numbers::integer(text.number()?)?)?),
            (Kind::Int64, Values::Int64(numbers)) => numbers.push(numbers::integer(text.number()?)?),
            (Kind::Double, Values::Double(numbers)) => numbers.push(read_double(text)?),
            (&Kind::Decimal { precision, scale, rounded }, Values::Decimal(numbers)) => {
                numbers.push(numbers::decimal(text.number()?, precision.into(), scale.into(), rounded)?);
            }
            (Kind::Date, Values::Int32(numbers)) => numbers.push(int32(match text.peek() {
                b'"' => times::epoch_days(&text.string()?)?,
                _ => numbers::integer(text.number()?)?,
            })?),
            (Kind::Timestamp, Values::Int64(numbers)) => numbers.push(match text.peek() {
                b'"' => times::epoch_us(&text.string()?)?,
                _ => read_epoch_ms(text)?,
            }),
            (Kind::EpochMs, Values::Int64(numbers)) => numbers.push(read_epoch_ms(text)?),
            (Kind::Time, Values::Bytes(ends, bytes)) => {
                let ms = match text.peek() {
                    b'"' => times::day_ms(&text.string()?)?,
                    _ => numbers::integer(text.number()?)?,
                };
                append_bytes(ends, bytes, &times::time_text(ms)?)?;
            }
            (Kind::Text, Values::Bytes(ends, bytes)) => append_bytes(ends, bytes, &text.string()?)?,
            (Kind::Base64, Values::Bytes(ends, bytes)) => {
                base64::decode(&text.string()?, bytes)?;
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
            (Kind::Struct(names, _), Values::Struct(fields)) => read_fields(text, names, fields)?,
            _ => return Err(Unusual),
        }
        self.valid.append_non_null();
        Ok(())
    }

    /// Reads a key of a map from its text.
    fn read_key(&mut self, key: &[u8]) -> Read<()> {
        let is_number = number_length(key) == Some(key.len());
        match (&self.kind, &mut self.values) {
            (Kind::Text, Values::Bytes(ends, bytes)) => append_bytes(ends, bytes, key)?,
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

    /// The array, which Arrow checks as it is built.
    pub fn finish(mut self) -> Read<ArrayData> {
        let (length, nulls) = (self.len(), self.valid.finish());
        let (type_, buffers, children) = match self.values {
            Values::Bits(mut bits) => (DataType::Boolean, vec![bits.finish().into_inner()], vec![]),
            Values::Int32(numbers) if matches!(self.kind, Kind::Date) => {
                (DataType::Date32, vec![Buffer::from_vec(numbers)], vec![])
            }
            Values::Int32(numbers) => (DataType::Int32, vec![Buffer::from_vec(numbers)], vec![]),
            Values::Int64(numbers) if matches!(self.kind, Kind::Timestamp | Kind::EpochMs) => {
                let type_ = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
                (type_, vec![Buffer::from_vec(numbers)], vec![])
            }
            Values::Int64(numbers) => (DataType::Int64, vec![Buffer::from_vec(numbers)], vec![]),
            Values::Double(numbers) => (DataType::Float64, vec![Buffer::from_vec(numbers)], vec![]),
            Values::Decimal(numbers) => {
                let Kind::Decimal { precision, scale, .. } = self.kind else { return Err(Unusual) };
                (DataType::Decimal128(precision, scale), vec![Buffer::from_vec(numbers)], vec![])
            }
            Values::Bytes(ends, bytes) => {
                let is_text = matches!(self.kind, Kind::Text | Kind::Time);
                let type_ = if is_text { DataType::Utf8 } else { DataType::Binary };
                (type_, vec![Buffer::from_vec(ends), Buffer::from_vec(bytes)], vec![])
            }
            Values::List(ends, inner) => {
                let inner = inner.finish()?;
                let type_ = DataType::List(field("element", &inner, true));
                (type_, vec![Buffer::from_vec(ends)], vec![inner])
            }
            Values::Map(ends, keys, inner) => {
                let (keys, inner) = (keys.finish()?, inner.finish()?);
                let fields = vec![field("key", &keys, false), field("value", &inner, true)];
                let length = keys.len();
                let entries = built(DataType::Struct(fields.into()), length, None, vec![], vec![keys, inner])?;
                let type_ = DataType::Map(field("entries", &entries, false), false);
                (type_, vec![Buffer::from_vec(ends)], vec![entries])
            }
            Values::Struct(fields) => {
                let children = fields.into_iter().map(Column::finish).collect::<Read<Vec<_>>>()?;
                let parts: Fields = children.iter().map(|child| field("", child, true)).collect();
                (DataType::Struct(parts), vec![], children)
            }
        };
        built(type_, length, nulls, buffers, children)
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
    numbers::integer(text.number()?)?.checked_mul(1000).ok_or(Unusual)
}

fn read_double(text: &mut Cursor<'_>) -> Read<f64> {
    if text.peek() != b'"' {
        return numbers::double(text.number()?);
    }
    match text.string()?.as_ref() {
        b"NaN" => Ok(f64::NAN),
        b"Infinity" => Ok(f64::INFINITY),
        b"-Infinity" => Ok(f64::NEG_INFINITY),
        _ => Err(Unusual),
    }
}

/// Calls `one` for each of the items up to `closing`, whose opening bracket was taken.
fn each<'a>(text: &mut Cursor<'a>, closing: u8, mut one: impl FnMut(&mut Cursor<'a>) -> Read<()>) -> Read<()> {
    if text.take(closing) {
        return Ok(());
    }
    loop {
        one(text)?;
        if !text.take(b',') {
            return text.expect(closing);
        }
    }
}

/// A map from text: of a key that comes twice the last one would count.
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
fn read_fields(text: &mut Cursor<'_>, names: &[Vec<u8>], fields: &mut [Column]) -> Read<()> {
    let (before, mut next) = (fields.first().map_or(0, Column::len), 0);
    text.expect(b'{')?;
    each(text, b'}', |text| {
        let name = text.string()?;
        let is_next = names.get(next).is_some_and(|wanted| wanted[..] == name[..]);
        let place = if is_next { Some(next) } else { names.iter().position(|wanted| wanted[..] == name[..]) };
        let place = place.ok_or(Unusual)?;
        if fields[place].len() != before {
            return Err(Unusual);
        }
        text.expect(b':')?;
        next = place + 1;
        fields[place].read(text)
    })?;
    if fields.iter().all(|field| field.len() == before + 1) { Ok(()) } else { Err(Unusual) }
}
