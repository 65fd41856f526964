//! The names of an object's fields in the order of the last object, which the next object mostly has too.

use crate::cursor::{Read, Unusual};

const MOST_NAMES: usize = 1000;

#[derive(Default)]
pub struct Order(Vec<(Vec<u8>, Option<usize>)>);

impl Order {
    /// The index in the declared `names` for the field at a place of its object; None for an undeclared field.
    pub fn place(&mut self, at: usize, name: &[u8], names: &[Vec<u8>]) -> Read<Option<usize>> {
        if let Some((_, place)) = self.0.get(at).filter(|(known, _)| known[..] == *name) {
            return Ok(*place);
        }
        let place = declared(name, names)?;
        if at < self.0.len() {
            self.0[at] = (name.to_vec(), place);
        } else if at < MOST_NAMES {
            self.0.push((name.to_vec(), place));
        }
        Ok(place)
    }
}

/// Matches by the name itself, else in upper case; only for ASCII, where all libraries agree on upper case.
fn declared(name: &[u8], names: &[Vec<u8>]) -> Read<Option<usize>> {
    let place_of = |name: &[u8]| names.iter().position(|declared| declared[..] == *name);
    match place_of(name) {
        Some(place) => Ok(Some(place)),
        None if !name.is_ascii() => Err(Unusual),
        None => Ok(place_of(&name.to_ascii_uppercase())),
    }
}
