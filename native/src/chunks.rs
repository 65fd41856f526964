//! Takes the content out of HTTP chunks of the usual form: all others are left to Python, which judges them.

const MOST_DIGITS: usize = 15;

/// The content of the chunks from `at` that are whole and have a size line without extensions, the end of the chunk
/// before it included; and the place behind them.
pub fn whole_chunks(data: &[u8], at: usize) -> (Vec<u8>, usize) {
    let (mut contents, mut at) = (Vec::with_capacity(data.len().saturating_sub(at)), at);
    while let Some((start, size)) = data.get(at..).and_then(size_line) {
        let Some(content) = data.get(at + start..at + start + size) else { break };
        contents.extend_from_slice(content);
        at += start + size;
    }
    (contents, at)
}

/// The length of the size line, and the size, unless that is zero: then the body ends.
fn size_line(text: &[u8]) -> Option<(usize, usize)> {
    let digits = text.strip_prefix(b"\r\n")?;
    let length = digits.iter().take(MOST_DIGITS + 1).position(|byte| !byte.is_ascii_hexdigit())?;
    let size = usize::from_str_radix(std::str::from_utf8(&digits[..length]).ok()?, 16).ok()?;
    (digits[length..].starts_with(b"\r\n") && size > 0).then_some((length + 4, size))
}
