//! Values of one column, appended one by one and handed over as an Arrow array.

use arrow_buffer::{BooleanBufferBuilder, Buffer, NullBufferBuilder};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Fields, TimeUnit};

use crate::arrays::{built, field};
use crate::cursor::{Read, Unusual};
use crate::kinds::Kind;
use crate::names::Order;

pub enum Values {
    Bits(BooleanBufferBuilder),
    Int32(Vec<i32>),
    Int64(Vec<i64>),
    Double(Vec<f64>),
    Decimal(Vec<i128>),
    Bytes(Vec<i32>, Vec<u8>),
    List(Vec<i32>, Box<Column>),
    Map(Vec<i32>, Box<Column>, Box<Column>),
    Struct(Vec<Column>, Order),
}

pub struct Column {
    pub kind: Kind,
    pub valid: NullBufferBuilder,
    pub values: Values,
}

impl Column {
    pub fn new(kind: &Kind) -> Self {
        let values = match kind {
            Kind::Boolean => Values::Bits(BooleanBufferBuilder::new(0)),
            Kind::Int32 | Kind::Date | Kind::EpochDays => Values::Int32(Vec::new()),
            Kind::Int64 | Kind::Timestamp | Kind::EpochMs => Values::Int64(Vec::new()),
            Kind::Double | Kind::LooseDouble => Values::Double(Vec::new()),
            Kind::Decimal { .. } | Kind::LooseDecimal { .. } => Values::Decimal(Vec::new()),
            Kind::Text | Kind::LooseText | Kind::Base64 | Kind::Time | Kind::DayMs | Kind::Json => {
                Values::Bytes(vec![0], Vec::new())
            }
            Kind::List(inner) => Values::List(vec![0], Box::new(Column::new(inner))),
            Kind::Map(key, inner) => Values::Map(vec![0], Box::new(Column::new(key)), Box::new(Column::new(inner))),
            Kind::Struct(_, fields) | Kind::LooseStruct(_, fields) => {
                Values::Struct(fields.iter().map(Column::new).collect(), Order::default())
            }
        };
        Column { kind: kind.clone(), valid: NullBufferBuilder::new(0), values }
    }

    pub fn len(&self) -> usize {
        self.valid.len()
    }

    pub fn append_null(&mut self) {
        self.valid.append_null();
        match &mut self.values {
            Values::Bits(bits) => bits.append(false),
            Values::Int32(numbers) => numbers.push(0),
            Values::Int64(numbers) => numbers.push(0),
            Values::Double(numbers) => numbers.push(0.0),
            Values::Decimal(numbers) => numbers.push(0),
            Values::Bytes(ends, _) | Values::List(ends, _) | Values::Map(ends, ..) => ends.push(ends[ends.len() - 1]),
            Values::Struct(fields, _) => fields.iter_mut().for_each(Column::append_null),
        }
    }

    /// Removes all values after the first `length`, and an unfinished one.
    pub fn cut(&mut self, length: usize) {
        self.valid.truncate(length);
        match &mut self.values {
            Values::Bits(bits) => bits.truncate(length),
            Values::Int32(numbers) => numbers.truncate(length),
            Values::Int64(numbers) => numbers.truncate(length),
            Values::Double(numbers) => numbers.truncate(length),
            Values::Decimal(numbers) => numbers.truncate(length),
            Values::Bytes(ends, bytes) => bytes.truncate(cut_ends(ends, length)),
            Values::List(ends, inner) => inner.cut(cut_ends(ends, length)),
            Values::Map(ends, keys, inner) => {
                let end = cut_ends(ends, length);
                keys.cut(end);
                inner.cut(end);
            }
            Values::Struct(fields, _) => fields.iter_mut().for_each(|field| field.cut(length)),
        }
    }

    /// The array, which Arrow checks as it is built.
    pub fn finish(mut self) -> Read<ArrayData> {
        let (length, nulls) = (self.len(), self.valid.finish());
        let (type_, buffers, children) = match self.values {
            Values::Bits(mut bits) => (DataType::Boolean, vec![bits.finish().into_inner()], vec![]),
            Values::Int32(numbers) if matches!(self.kind, Kind::Date | Kind::EpochDays) => {
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
                let (Kind::Decimal { precision, scale, .. } | Kind::LooseDecimal { precision, scale }) = self.kind
                else {
                    return Err(Unusual);
                };
                (DataType::Decimal128(precision, scale), vec![Buffer::from_vec(numbers)], vec![])
            }
            Values::Bytes(ends, bytes) => {
                let is_text = matches!(self.kind, Kind::Text | Kind::LooseText | Kind::Time | Kind::DayMs);
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
            Values::Struct(fields, _) => {
                let children = fields.into_iter().map(Column::finish).collect::<Read<Vec<_>>>()?;
                let parts: Fields = children.iter().map(|child| field("", child, true)).collect();
                (DataType::Struct(parts), vec![], children)
            }
        };
        built(type_, length, nulls, buffers, children)
    }
}

/// The place where the last of `length` values ends.
fn cut_ends(ends: &mut Vec<i32>, length: usize) -> usize {
    ends.truncate(length + 1);
    ends[length] as usize
}
