//! The rows of an answer, one after the other, into columns.

use arrow_data::ArrayData;

use crate::arrays::batch;
use crate::column::Column;
use crate::cursor::{Cursor, Read};
use crate::kinds::Kind;

/// The text that may follow the row inside its element.
const EMPTY_PARTS: [&[u8]; 4] = [b"errorMessage", b"finalMessage", b"continuationToken", b"consistencyToken"];

pub struct Rows {
    pub batch: ArrayData,
    pub tombstones: Vec<usize>,
}

/// Whole elements with commas between them, each of which must be a row.
pub fn read_rows(elements: &[u8], streamed: bool, kinds: &[Kind]) -> Read<Rows> {
    let mut text = Cursor::new(elements);
    let mut columns: Vec<Column> = kinds.iter().map(Column::new).collect();
    let (mut row_count, mut tombstones) = (0, Vec::new());
    loop {
        let is_delete =
            if streamed { read_element(&mut text, &mut columns)? } else { read_row(&mut text, &mut columns)? };
        if is_delete {
            tombstones.push(row_count);
        }
        row_count += 1;
        text.peek();
        if text.is_at_end() {
            break;
        }
        text.expect(b',')?;
    }
    Ok(Rows { batch: batch(columns, row_count)?, tombstones })
}

fn read_row(text: &mut Cursor<'_>, columns: &mut [Column]) -> Read<bool> {
    text.expect(b'[')?;
    for (place, column) in columns.iter_mut().enumerate() {
        if place > 0 {
            text.expect(b',')?;
        }
        column.read(text)?;
    }
    text.expect(b']')?;
    Ok(false)
}

/// Reads a row inside an object; returns whether it is a delete.
fn read_element(text: &mut Cursor<'_>, columns: &mut [Column]) -> Read<bool> {
    let mut is_delete = false;
    text.expect(b'{')?;
    expect_name(text, b"row")?;
    text.expect(b'{')?;
    expect_name(text, b"columns")?;
    read_row(text, columns)?;
    if text.take(b',') {
        expect_name(text, b"tombstone")?;
        is_delete = text.boolean()?;
    }
    text.expect(b'}')?;
    for name in EMPTY_PARTS {
        if !text.take(b',') {
            break;
        }
        expect_name(text, name)?;
        text.expect_word(b"null")?;
    }
    text.expect(b'}')?;
    Ok(is_delete)
}

fn expect_name(text: &mut Cursor<'_>, name: &[u8]) -> Read<()> {
    text.expect(b'"')?;
    text.expect_here(name)?;
    text.expect_here(b"\"")?;
    text.expect(b':')
}
