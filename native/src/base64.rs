//! Strict base64: padding required, no other characters.

use crate::cursor::{Read, Unusual};

fn six_bits(letter: u8) -> Read<u32> {
    Ok(u32::from(match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return Err(Unusual),
    }))
}

/// Decodes `text` and appends its bytes.
pub fn decode(text: &[u8], bytes: &mut Vec<u8>) -> Read<()> {
    if text.len() % 4 != 0 {
        return Err(Unusual);
    }
    let padding = text.iter().rev().take(2).take_while(|&&letter| letter == b'=').count();
    for group in text[..text.len() - padding].chunks(4) {
        let mut bits = 0;
        for &letter in group {
            bits = bits << 6 | six_bits(letter)?;
        }
        let missing = 4 - group.len();
        bits <<= 6 * missing;
        let found = bits.to_be_bytes();
        let (whole, rest) = found[1..].split_at(3 - missing);
        if rest.iter().any(|&byte| byte != 0) {
            return Err(Unusual);
        }
        bytes.extend_from_slice(whole);
    }
    Ok(())
}
