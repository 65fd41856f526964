//! Arrow arrays out of their parts.

use std::sync::Arc;

use arrow_buffer::{Buffer, NullBuffer};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Field, Fields};

use crate::column::Column;
use crate::cursor::{Read, Unusual};

/// One array of many columns, as a record batch is handed over.
pub fn batch(columns: Vec<Column>, row_count: usize) -> Read<ArrayData> {
    let children = columns.into_iter().map(Column::finish).collect::<Read<Vec<_>>>()?;
    let parts: Fields = children.iter().map(|child| field("", child, true)).collect();
    built(DataType::Struct(parts), row_count, None, vec![], children)
}

pub fn field(name: &str, data: &ArrayData, nullable: bool) -> Arc<Field> {
    Arc::new(Field::new(name, data.data_type().clone(), nullable))
}

pub fn built(
    type_: DataType,
    length: usize,
    nulls: Option<NullBuffer>,
    buffers: Vec<Buffer>,
    children: Vec<ArrayData>,
) -> Read<ArrayData> {
    let builder = ArrayData::builder(type_).len(length).nulls(nulls).buffers(buffers).child_data(children);
    builder.build().map_err(|_| Unusual)
}
