//! Parses numbers exactly; a number that does not fit is `Unusual`.

use std::ops::{Add, Mul};

use crate::cursor::{Read, Unusual};

const MOST_DIGITS: i32 = 38;
/// A number of so many bytes fits into 64 bits.
const SHORT: usize = 18;
const MOST_LENGTH: usize = 300;

/// The whole number that `text` is.
pub fn integer(text: &[u8]) -> Read<i64> {
    let (value, length) = leading_integer(text)?;
    if length == text.len() { Ok(value) } else { Err(Unusual) }
}

/// The whole number at the beginning of `text`, and its length in bytes.
#[inline]
pub fn leading_integer(text: &[u8]) -> Read<(i64, usize)> {
    let negative = text.first() == Some(&b'-');
    let start = usize::from(negative);
    let (mut size, mut at) = (0u64, start);
    while let Some(eight) = text.get(at..).and_then(<[u8]>::first_chunk::<8>).and_then(eight_digits) {
        size = size.wrapping_mul(100_000_000).wrapping_add(eight);
        at += 8;
    }
    while let Some(digit) = text.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        size = size.wrapping_mul(10).wrapping_add(digit.into()); // 19 digits fit, more are refused below
        at += 1;
    }
    let is_whole = !matches!(text.get(at), Some(b'.' | b'e' | b'E'));
    let is_plain = match at - start {
        0 => false,
        1 => !negative || size != 0,
        length => length <= 19 && text[start] != b'0',
    };
    if !is_whole || !is_plain {
        return Err(Unusual);
    }
    let value = if negative { 0i64.checked_sub_unsigned(size) } else { size.try_into().ok() };
    Ok((value.ok_or(Unusual)?, at))
}

/// The number that eight digits are.
#[inline]
fn eight_digits(text: &[u8; 8]) -> Option<u64> {
    let word = u64::from_le_bytes(*text);
    let digits = word ^ 0x3030_3030_3030_3030;
    if (digits | digits.wrapping_add(0x0606_0606_0606_0606)) & 0xf0f0_f0f0_f0f0_f0f0 != 0 {
        return None;
    }
    let pairs = digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_ffff_0000_ffff;
    Some(fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xffff_ffff)
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
    let (size, digits, exponent) = if rest.len() <= SHORT {
        let (size, digits, exponent) = digits_of::<u64>(rest)?;
        (size.into(), digits, exponent)
    } else {
        digits_of::<i128>(rest)?
    };
    let shift = scale + exponent;
    let unscaled = if shift >= 0 {
        if size != 0 && digits + shift > MOST_DIGITS {
            return Err(Unusual);
        }
        if size == 0 { 0 } else { size * power(shift) }
    } else {
        if -shift > MOST_DIGITS {
            return Err(Unusual);
        }
        shortened(size, power(-shift), rounded)?
    };
    // Arrow counts digits as written: a zero without its fraction does not fit into DECIMAL(2, 2).
    let written = if rounded { scale } else { digits.max(1).max(-exponent) + shift };
    if written > precision || unscaled >= power(precision) {
        return Err(Unusual);
    }
    Ok(if negative { -unscaled } else { unscaled })
}

/// The digits as one number, how many there are after leading zeros, and the exponent of the last one.
fn digits_of<T: Copy + Default + PartialEq + From<u8> + Mul<Output = T> + Add<Output = T>>(
    text: &[u8],
) -> Read<(T, i32, i32)> {
    let (mut size, mut digits, mut exponent) = (T::default(), 0, 0);
    let mut in_fraction = false;
    for (at, &byte) in text.iter().enumerate() {
        match byte {
            b'.' => in_fraction = true,
            b'e' | b'E' => {
                exponent += small_exponent(&text[at + 1..])?;
                break;
            }
            digit => {
                size = size * T::from(10) + T::from(digit - b'0');
                digits += i32::from(size != T::default());
                exponent -= i32::from(in_fraction);
                if digits > MOST_DIGITS {
                    return Err(Unusual);
                }
            }
        }
    }
    Ok((size, digits, exponent))
}

/// Ten to the power of 0 to 38.
fn power(exponent: i32) -> i128 {
    const POWERS: [i128; MOST_DIGITS as usize + 1] = {
        let mut powers = [1; MOST_DIGITS as usize + 1];
        let mut at = 1;
        while at < powers.len() {
            powers[at] = powers[at - 1] * 10;
            at += 1;
        }
        powers
    };
    POWERS[exponent as usize]
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
