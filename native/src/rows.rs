//! The rows of an answer, one after the other, into columns.

use arrow_data::ArrayData;

use crate::arrays::batch;
use crate::column::Column;
use crate::cursor::{Cursor, Read, Unusual};
use crate::kinds::Kind;

/// The text that may follow the row inside its element.
const EMPTY_PARTS: [&[u8]; 4] = [b"errorMessage", b"finalMessage", b"continuationToken", b"consistencyToken"];

pub struct Rows {
    pub batch: ArrayData,
    pub tombstones: Vec<usize>,
    /// The place behind the last row.
    pub end: usize,
}

/// The elements at the beginning of `text` that are rows of the usual form, with commas between them; before the first
/// one too where they `follow` others. `Unusual` without any.
pub fn read_rows(text: &[u8], follow: bool, streamed: bool, kinds: &[Kind]) -> Read<Rows> {
    let mut text = Cursor::new(text);
    let mut columns: Vec<Column> = kinds.iter().map(Column::new).collect();
    let (mut row_count, mut tombstones, mut end) = (0, Vec::new(), 0);
    while row_count + usize::from(follow) == 0 || text.take(b',') {
        let read = if streamed { read_element(&mut text, &mut columns) } else { read_row(&mut text, &mut columns) };
        let Ok(is_delete) = read else { break };
        if is_delete {
            tombstones.push(row_count);
        }
        row_count += 1;
        end = text.place();
    }
    if row_count == 0 {
        return Err(Unusual);
    }
    columns.iter_mut().for_each(|column| column.cut(row_count));
    Ok(Rows { batch: batch(columns, row_count)?, tombstones, end })
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
