//! Finds where the elements of an answer end: counts brackets and skips strings, without reading the elements.

use crate::blocks::{equal, odd_up_to};

/// The bit by which braces differ from brackets.
const CASE: u8 = 0x20;

/// The depth of brackets, whether inside a string, and whether after a backslash.
#[derive(Clone, Copy)]
pub struct State {
    pub depth: i64,
    pub quoted: bool,
    pub escaped: bool,
}

pub struct Found {
    /// The places after the last byte of each element, as little-endian 64-bit numbers.
    pub ends: Vec<u8>,
    /// The place of the bracket that closes the array, or -1.
    pub closed_at: i64,
    pub state: State,
}

pub fn scan(data: &[u8], from: State) -> Found {
    let mut found = Found { ends: Vec::new(), closed_at: -1, state: from };
    let mut at = 0;
    while at < data.len() && found.closed_at < 0 {
        match data[at..].first_chunk::<64>() {
            Some(block) if found.read_block(at, block) => at += 64,
            _ => {
                let end = data.len().min(at + 64);
                for (place, &byte) in data[at..end].iter().enumerate() {
                    found.read_byte(at + place, byte);
                    if found.closed_at >= 0 {
                        break;
                    }
                }
                at = end;
            }
        }
    }
    found
}

impl Found {
    /// Returns false where backslashes say which quotes count: then nothing was read.
    fn read_block(&mut self, at: usize, block: &[u8; 64]) -> bool {
        if self.state.escaped || equal(block, b'\\', 0) != 0 {
            return false;
        }
        let quotes = odd_up_to(equal(block, b'"', 0));
        let inside = if self.state.quoted { !quotes } else { quotes };
        let opening = equal(block, b'{', CASE);
        let mut brackets = (opening | equal(block, b'}', CASE)) & !inside;
        while brackets != 0 {
            let place = brackets.trailing_zeros() as usize;
            self.read_bracket(at + place, opening >> place & 1 == 1);
            if self.closed_at >= 0 {
                self.state.quoted = false;
                return true;
            }
            brackets &= brackets - 1;
        }
        self.state.quoted = inside >> 63 == 1;
        true
    }

    fn read_byte(&mut self, at: usize, byte: u8) {
        let State { quoted, escaped, .. } = self.state;
        self.state.escaped = byte == b'\\' && !escaped;
        match byte {
            b'"' if !escaped => self.state.quoted = !quoted,
            b'[' | b'{' if !quoted && !escaped => self.read_bracket(at, true),
            b']' | b'}' if !quoted && !escaped => self.read_bracket(at, false),
            _ => {}
        }
    }

    fn read_bracket(&mut self, at: usize, opens: bool) {
        self.state.depth += if opens { 1 } else { -1 };
        match self.state.depth {
            0 if !opens => self.closed_at = at as i64,
            1 if !opens => self.ends.extend_from_slice(&(at as i64 + 1).to_le_bytes()),
            _ => {}
        }
    }
}
