//! Parses dates and times in the server's text; other forms are `Unusual`.

use crate::cursor::{Read, Unusual};

const DAY_MS: i64 = 86_400_000;
/// For earlier dates the server writes the Julian calendar, without marking it.
const GREGORIAN_START_MS: i64 = -12_219_292_800_000;

fn number(digits: &[u8]) -> Read<i64> {
    digits.iter().try_fold(0, |size, digit| match digit {
        b'0'..=b'9' => Ok(size * 10 + i64::from(digit - b'0')),
        _ => Err(Unusual),
    })
}

/// Days since 1970 of `YYYY-MM-DD`.
pub fn epoch_days(text: &[u8]) -> Read<i64> {
    if text.len() != 10 || text[4] != b'-' || text[7] != b'-' {
        return Err(Unusual);
    }
    let (year, month, day) = (number(&text[..4])?, number(&text[5..7])?, number(&text[8..])?);
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return Err(Unusual),
    };
    if year == 0 || day == 0 || day > month_days {
        return Err(Unusual);
    }
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days_before_year = year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Ok(days_before_year + (153 * month + 2) / 5 + day - 1 - 719_468)
}

/// Milliseconds of `HH:MM`, `HH:MM:SS` or `HH:MM:SS.f` with up to nine digits, of which three count.
pub fn day_ms(text: &[u8]) -> Read<i64> {
    let has_seconds = text.len() >= 8 && text[5] == b':';
    let has_fraction = text.len() > 9 && text.len() <= 18 && text[8] == b'.';
    if !(text.len() == 5 || (has_seconds && (text.len() == 8 || has_fraction))) || text[2] != b':' {
        return Err(Unusual);
    }
    let (hour, minute) = (number(&text[..2])?, number(&text[3..5])?);
    let second = if has_seconds { number(&text[6..8])? } else { 0 };
    let fraction = if has_fraction { &text[9..] } else { b"0" };
    number(fraction)?;
    let ms = (0..3).fold(0, |ms, at| ms * 10 + fraction.get(at).map_or(0, |digit| i64::from(digit - b'0')));
    if hour > 23 || minute > 59 || second > 59 {
        return Err(Unusual);
    }
    Ok(((hour * 60 + minute) * 60 + second) * 1000 + ms)
}

/// `HH:MM:SS.mmm`.
pub fn time_text(ms: i64) -> Read<[u8; 12]> {
    if !(0..DAY_MS).contains(&ms) {
        return Err(Unusual);
    }
    let mut text = *b"00:00:00.000";
    let mut put = |at: usize, value: i64, digits: usize| {
        let mut rest = value;
        for place in (at..at + digits).rev() {
            text[place] += (rest % 10) as u8;
            rest /= 10;
        }
    };
    put(0, ms / 3_600_000, 2);
    put(3, ms / 60_000 % 60, 2);
    put(6, ms / 1000 % 60, 2);
    put(9, ms % 1000, 3);
    Ok(text)
}

/// Microseconds since 1970 of `YYYY-MM-DDTHH:MM...`.
pub fn epoch_us(text: &[u8]) -> Read<i64> {
    if text.len() < 11 || text[10] != b'T' {
        return Err(Unusual);
    }
    let ms = epoch_days(&text[..10])? * DAY_MS + day_ms(&text[11..])?;
    if ms < GREGORIAN_START_MS { Err(Unusual) } else { Ok(ms * 1000) }
}
