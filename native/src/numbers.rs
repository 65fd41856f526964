//! Parses numbers exactly; a number that does not fit is `Unusual`.

use crate::cursor::{Read, Unusual};

const MOST_DIGITS: i32 = 38;
const MOST_LENGTH: usize = 300;

pub fn integer(text: &[u8]) -> Read<i64> {
    let (negative, digits) = signed(text);
    let is_whole = digits.len() <= 19 && digits.iter().all(u8::is_ascii_digit);
    let is_plain = !digits.is_empty() && (digits[0] != b'0' || (digits.len() == 1 && !negative));
    if !is_whole || !is_plain {
        return Err(Unusual);
    }
    let size = digits.iter().fold(0i128, |size, digit| size * 10 + i128::from(digit - b'0'));
    i64::try_from(if negative { -size } else { size }).map_err(|_| Unusual)
}

/// `text` must be a valid JSON number.
pub fn double(text: &[u8]) -> Read<f64> {
    if text == b"-0" {
        return Err(Unusual);
    }
    let value: f64 = std::str::from_utf8(text).map_err(|_| Unusual)?.parse().map_err(|_| Unusual)?;
    if value.is_finite() { Ok(value) } else { Err(Unusual) }
}

/// The same for a number whose length and exponent every reader accepts.
pub fn short_double(text: &[u8]) -> Read<f64> {
    if let Some(at) = text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        small_exponent(&text[at + 1..])?;
    }
    if text.len() > MOST_LENGTH { Err(Unusual) } else { double(text) }
}

/// A decimal in units of its last digit. `text` must be a valid JSON number.
///
/// With `rounded` digits beyond the scale are rounded half to even: a double stands for its nearest decimal.
pub fn decimal(text: &[u8], precision: i32, scale: i32, rounded: bool) -> Read<i128> {
    let (negative, rest) = signed(text);
    let (mut size, mut digits, mut exponent) = (0i128, 0, 0i32);
    let mut in_fraction = false;
    let mut at = 0;
    while at < rest.len() {
        match rest[at] {
            b'.' => in_fraction = true,
            b'e' | b'E' => {
                exponent += small_exponent(&rest[at + 1..])?;
                break;
            }
            digit => {
                size = size * 10 + i128::from(digit - b'0');
                if size != 0 {
                    digits += 1;
                }
                if in_fraction {
                    exponent -= 1;
                }
                if digits > MOST_DIGITS {
                    return Err(Unusual);
                }
            }
        }
        at += 1;
    }
    let shift = scale + exponent;
    let unscaled = if shift >= 0 {
        if size != 0 && digits + shift > MOST_DIGITS {
            return Err(Unusual);
        }
        if size == 0 { 0 } else { size * 10i128.pow(shift as u32) }
    } else {
        if -shift > MOST_DIGITS {
            return Err(Unusual);
        }
        shortened(size, 10i128.pow(-shift as u32), rounded)?
    };
    // Arrow counts digits as written: a zero without its fraction does not fit into DECIMAL(2, 2).
    let written = if rounded { scale } else { digits.max(1).max(-exponent) + shift };
    if written > precision || unscaled >= 10i128.pow(precision as u32) {
        return Err(Unusual);
    }
    Ok(if negative { -unscaled } else { unscaled })
}

fn shortened(size: i128, unit: i128, rounded: bool) -> Read<i128> {
    let (whole, rest) = (size / unit, size % unit);
    if rest == 0 {
        return Ok(whole);
    }
    if !rounded {
        return Err(Unusual);
    }
    let up = rest > unit - rest || (rest == unit - rest && whole % 2 == 1);
    Ok(if up { whole + 1 } else { whole })
}

fn small_exponent(text: &[u8]) -> Read<i32> {
    let (negative, digits) = match text.first() {
        Some(b'+') => (false, &text[1..]),
        _ => signed(text),
    };
    if digits.is_empty() || digits.len() > 3 {
        return Err(Unusual);
    }
    let size = digits.iter().fold(0, |size, digit| size * 10 + i32::from(digit - b'0'));
    Ok(if negative { -size } else { size })
}

fn signed(text: &[u8]) -> (bool, &[u8]) {
    match text.first() {
        Some(b'-') => (true, &text[1..]),
        _ => (false, text),
    }
}
