//! Records' payloads, one JSON value each, as the values of one column.

use arrow_data::ArrayData;

use crate::column::Column;
use crate::cursor::{Cursor, Read, Unusual};
use crate::kinds::Kind;

pub struct Payloads {
    pub values: ArrayData,
    /// The places of payloads that are not of the usual form; their values are null.
    pub left: Vec<usize>,
    /// The places without a payload.
    pub missing: Vec<usize>,
}

/// With `has_prefix` each payload has a zero and the four bytes of its schema's number before its value.
pub fn read_payloads(payloads: &[Option<&[u8]>], has_prefix: bool, kind: &Kind) -> Read<Payloads> {
    let mut column = Column::new(kind);
    let (mut left, mut missing) = (Vec::new(), Vec::new());
    for (place, payload) in payloads.iter().enumerate() {
        let Some(payload) = payload else {
            missing.push(place);
            column.append_null();
            continue;
        };
        if read_payload(payload, has_prefix, &mut column).is_err() {
            left.push(place);
            column.cut(place);
            column.append_null();
        }
    }
    Ok(Payloads { values: column.finish()?, left, missing })
}

fn read_payload(payload: &[u8], has_prefix: bool, column: &mut Column) -> Read<()> {
    let body = if has_prefix {
        if payload.first() != Some(&0) { Err(Unusual) } else { payload.get(5..).ok_or(Unusual) }?
    } else {
        payload
    };
    let mut text = Cursor::new(body);
    if matches!(column.kind, Kind::LooseStruct(..)) && text.peek() == b'n' {
        return Err(Unusual);
    }
    column.read(&mut text)?;
    text.peek();
    if text.is_at_end() { Ok(()) } else { Err(Unusual) }
}
