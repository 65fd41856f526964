//! Bytes compared eight at a time, within a word of 64 bits.

const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
const LOW: u64 = u64::from_ne_bytes([0x7f; 8]);
const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
/// Moves the lowest bits of a word's bytes together, into its highest byte.
const GATHER: u64 = 0x0102_0408_1020_4080;

/// A bit for each byte that is `wanted` once `case` is set in it, the lowest for the first.
#[inline]
pub fn equal(block: &[u8; 64], wanted: u8, case: u8) -> u64 {
    let (wanted, case) = (ONES * u64::from(wanted), ONES * u64::from(case));
    block.chunks_exact(8).rev().fold(0, |bits, bytes| {
        let differs = (word(bytes) | case) ^ wanted;
        let same = !(((differs & LOW) + LOW) | differs) & HIGH;
        bits << 8 | (same >> 7).wrapping_mul(GATHER) >> 56
    })
}

/// How many bytes of `text` come before its first quote, backslash or control character: all if it has none.
#[inline]
pub fn plain_length(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(bytes) = text[at..].first_chunk::<8>() {
        let found = special(word(bytes));
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let rest = &text[at..];
    at + rest.iter().position(|&byte| matches!(byte, b'"' | b'\\' | 0..0x20)).unwrap_or(rest.len())
}

/// The high bit of each byte that is a quote, a backslash or a control character, right up to the first of them: what
/// that one borrows may mark bytes after it.
#[inline]
fn special(word: u64) -> u64 {
    let (quote, backslash) = (word ^ (ONES * u64::from(b'"')), word ^ (ONES * u64::from(b'\\')));
    let found = |bytes: u64, below: u64| bytes.wrapping_sub(ONES * below) & !bytes;
    (found(quote, 1) | found(backslash, 1) | found(word, 0x20)) & HIGH
}

/// For each bit whether the number of bits set up to it, itself included, is odd.
pub fn odd_up_to(bits: u64) -> u64 {
    (0..6).fold(bits, |bits, power| bits ^ bits << (1 << power))
}

#[inline]
fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}
