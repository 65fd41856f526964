//! Finds where the elements of an answer end: counts brackets and skips strings, without reading the elements.

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

const PLAIN: u8 = 0;
const QUOTE: u8 = 1;
const BACKSLASH: u8 = 2;
const OPEN: u8 = 3;
const CLOSE: u8 = 4;

const KINDS: [u8; 256] = {
    let mut kinds = [PLAIN; 256];
    kinds[b'"' as usize] = QUOTE;
    kinds[b'\\' as usize] = BACKSLASH;
    kinds[b'[' as usize] = OPEN;
    kinds[b'{' as usize] = OPEN;
    kinds[b']' as usize] = CLOSE;
    kinds[b'}' as usize] = CLOSE;
    kinds
};

pub fn scan(data: &[u8], from: State) -> Found {
    let (mut depth, mut quoted) = (from.depth, from.quoted);
    let mut ends = Vec::new();
    let mut at = if from.escaped && !data.is_empty() { 1 } else { 0 };
    let mut escaped = from.escaped && data.is_empty();
    while at < data.len() {
        match KINDS[data[at] as usize] {
            QUOTE => quoted = !quoted,
            BACKSLASH => {
                at += 1;
                escaped = at == data.len();
            }
            OPEN if !quoted => depth += 1,
            CLOSE if !quoted => {
                depth -= 1;
                if depth == 0 {
                    let state = State { depth, quoted, escaped };
                    return Found { ends, closed_at: at as i64, state };
                }
                if depth == 1 {
                    ends.extend_from_slice(&(at as i64 + 1).to_le_bytes());
                }
            }
            _ => {}
        }
        at += 1;
    }
    Found { ends, closed_at: -1, state: State { depth, quoted, escaped } }
}
