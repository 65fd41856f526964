//! A place in JSON text, and the tokens that can be read there.

use std::borrow::Cow;

use crate::blocks::plain_length;
use crate::numbers;

/// The text is not of the usual form: the reference decides whether it is valid, and what it means.
#[derive(Debug)]
pub struct Unusual;

pub type Read<T> = Result<T, Unusual>;

pub struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub fn new(text: &'a [u8]) -> Self {
        Cursor { text, at: 0 }
    }

    pub fn is_at_end(&self) -> bool {
        self.at >= self.text.len()
    }

    /// How many bytes were read.
    pub fn place(&self) -> usize {
        self.at
    }

    /// The next byte; at the end 0, which begins no token.
    #[inline]
    fn byte(&self) -> u8 {
        self.text.get(self.at).copied().unwrap_or(0)
    }

    /// The first byte that is no white space.
    #[inline]
    pub fn peek(&mut self) -> u8 {
        while matches!(self.byte(), b' ' | b'\n' | b'\t' | b'\r') {
            self.at += 1;
        }
        self.byte()
    }

    /// Takes this byte if it comes next.
    #[inline]
    pub fn take(&mut self, wanted: u8) -> bool {
        if self.peek() != wanted {
            return false;
        }
        self.at += 1;
        true
    }

    #[inline]
    pub fn expect(&mut self, wanted: u8) -> Read<()> {
        if self.take(wanted) { Ok(()) } else { Err(Unusual) }
    }

    pub fn expect_word(&mut self, word: &[u8]) -> Read<()> {
        self.peek();
        self.expect_here(word)
    }

    /// Takes this text if it comes next, without white space before it.
    #[inline]
    pub fn take_here(&mut self, wanted: &[u8]) -> bool {
        let comes = self.text.get(self.at..).is_some_and(|rest| rest.starts_with(wanted));
        self.at += if comes { wanted.len() } else { 0 };
        comes
    }

    /// The same without white space before it.
    pub fn expect_here(&mut self, word: &[u8]) -> Read<()> {
        if !self.text[self.at.min(self.text.len())..].starts_with(word) {
            return Err(Unusual);
        }
        self.at += word.len();
        Ok(())
    }

    #[inline]
    pub fn take_null(&mut self) -> Read<bool> {
        if self.peek() != b'n' {
            return Ok(false);
        }
        self.expect_word(b"null").map(|()| true)
    }

    pub fn boolean(&mut self) -> Read<bool> {
        let is_true = self.peek() == b't';
        self.expect_word(if is_true { b"true" } else { b"false" })?;
        Ok(is_true)
    }

    /// The text of a number that is valid in JSON.
    pub fn number(&mut self) -> Read<&'a [u8]> {
        self.peek();
        let rest = &self.text[self.at.min(self.text.len())..];
        let length = number_length(rest).ok_or(Unusual)?;
        self.at += length;
        Ok(&rest[..length])
    }

    /// A whole number of 64 bits.
    #[inline]
    pub fn integer(&mut self) -> Read<i64> {
        self.peek();
        let (value, length) = numbers::leading_integer(&self.text[self.at.min(self.text.len())..])?;
        self.at += length;
        Ok(value)
    }

    /// A string; only one that has escapes is copied.
    pub fn string(&mut self) -> Read<Cow<'a, [u8]>> {
        self.expect(b'"')?;
        let start = self.at;
        let rest = &self.text[start.min(self.text.len())..];
        let found = &rest[..plain_length(rest)];
        self.at += found.len();
        match self.byte() {
            b'"' => self.at += 1,
            b'\\' => return self.escaped_string(start).map(Cow::Owned),
            _ => return Err(Unusual),
        }
        if found.is_ascii() || std::str::from_utf8(found).is_ok() { Ok(Cow::Borrowed(found)) } else { Err(Unusual) }
    }

    fn escaped_string(&mut self, start: usize) -> Read<Vec<u8>> {
        let mut found = self.text[start..self.at].to_vec();
        loop {
            let byte = self.byte();
            self.at += 1;
            match byte {
                b'"' => break,
                b'\\' => self.escape(&mut found)?,
                byte if byte < 0x20 => return Err(Unusual),
                byte => found.push(byte),
            }
        }
        if std::str::from_utf8(&found).is_err() {
            return Err(Unusual);
        }
        Ok(found)
    }

    fn escape(&mut self, found: &mut Vec<u8>) -> Read<()> {
        let byte = self.byte();
        self.at += 1;
        found.push(match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let mut code = self.four_hex_digits()?;
                if (0xd800..0xdc00).contains(&code) {
                    if self.text.get(self.at..self.at + 2) != Some(b"\\u") {
                        return Err(Unusual);
                    }
                    self.at += 2;
                    let low = self.four_hex_digits()?;
                    if !(0xdc00..0xe000).contains(&low) {
                        return Err(Unusual);
                    }
                    code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
                }
                let letter = char::from_u32(code).ok_or(Unusual)?;
                found.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return Err(Unusual),
        });
        Ok(())
    }

    fn four_hex_digits(&mut self) -> Read<u32> {
        let digits = self.text.get(self.at..self.at + 4).ok_or(Unusual)?;
        self.at += 4;
        digits
            .iter()
            .try_fold(0, |code, &digit| (digit as char).to_digit(16).map(|value| code * 16 + value).ok_or(Unusual))
    }

    /// The text of the next value, of any kind; only brackets and quotes are examined to find its end.
    pub fn value(&mut self) -> Read<&'a [u8]> {
        let first = self.peek();
        let start = self.at;
        match first {
            b'[' | b'{' => self.skip_nested()?,
            b'"' => drop(self.string()?),
            _ => {
                while !matches!(self.byte(), b',' | b']' | b'}' | b' ' | b'\n' | b'\t' | b'\r' | 0) {
                    self.at += 1;
                }
            }
        }
        Ok(&self.text[start..self.at])
    }

    /// Skips the next value, which must be valid JSON with numbers that every reader can hold.
    pub fn skip(&mut self, most_depth: usize) -> Read<()> {
        let inner = most_depth.checked_sub(1).ok_or(Unusual)?;
        match self.peek() {
            b'{' => {
                self.at += 1;
                each(self, b'}', |text| {
                    text.string()?;
                    text.expect(b':')?;
                    text.skip(inner)
                })
            }
            b'[' => {
                self.at += 1;
                each(self, b']', |text| text.skip(inner))
            }
            b'"' => self.string().map(drop),
            b't' | b'f' => self.boolean().map(drop),
            b'n' => self.expect_word(b"null"),
            _ => numbers::short_double(self.number()?).map(drop),
        }
    }

    fn skip_nested(&mut self) -> Read<()> {
        let mut depth = 0;
        loop {
            match self.byte() {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                b'"' => {
                    self.string()?;
                    continue;
                }
                0 => return Err(Unusual),
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return Ok(());
            }
        }
    }
}

/// The length in bytes of the number at the beginning of `text`.
pub fn number_length(text: &[u8]) -> Option<usize> {
    let sign = usize::from(text.first() == Some(&b'-'));
    let mut at = end_of_digits(text, sign)?;
    if at > sign + 1 && text[sign] == b'0' {
        return None;
    }
    if text.get(at) == Some(&b'.') {
        at = end_of_digits(text, at + 1)?;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        at = end_of_digits(text, at + 1 + sign)?;
    }
    Some(at)
}

/// Where the digits end that begin at `start`; None without any.
#[inline]
fn end_of_digits(text: &[u8], start: usize) -> Option<usize> {
    let mut at = start;
    while text.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    (at > start).then_some(at)
}

/// Calls `one` for each item up to `closing`; the opening bracket has been read.
pub fn each<'a>(text: &mut Cursor<'a>, closing: u8, mut one: impl FnMut(&mut Cursor<'a>) -> Read<()>) -> Read<()> {
    if text.take(closing) {
        return Ok(());
    }
    loop {
        one(text)?;
        if !text.take(b',') {
            return text.expect(closing);
        }
    }
}
