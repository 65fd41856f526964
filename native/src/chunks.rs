//! Takes the content out of HTTP chunks of the usual form: all others are left to Python, which judges them.

use std::ops::Range;

const MOST_DIGITS: usize = 15;

/// The places of the content up to `left`, where a chunk that has begun ends, and of the chunks behind it that have a
/// size line without extensions; and the place behind them, outside of the data where the last one is not whole.
pub fn contents(data: &[u8], left: usize) -> (Vec<Range<usize>>, usize) {
    let (mut places, mut at) = (vec![0..left.min(data.len())], left);
    while let Some((start, size)) = data.get(at..).and_then(size_line) {
        places.push(at + start..data.len().min(at + start + size));
        at += start + size;
    }
    (places, at)
}

/// The length of the size line, and the size, unless that is zero: then the body ends.
fn size_line(text: &[u8]) -> Option<(usize, usize)> {
    let digits = text.strip_prefix(b"\r\n")?;
    let length = digits.iter().take(MOST_DIGITS + 1).position(|byte| !byte.is_ascii_hexdigit())?;
    let size = usize::from_str_radix(std::str::from_utf8(&digits[..length]).ok()?, 16).ok()?;
    (digits[length..].starts_with(b"\r\n") && size > 0).then_some((length + 4, size))
}
