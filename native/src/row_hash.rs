//! The sum of the hashes of rows, which does not depend on their order: docs/metadata.md defines it, and
//! `pipeline/row_hash.py` has it with numpy.

use arrow_data::ffi::FFI_ArrowArray;
use arrow_schema::ffi::FFI_ArrowSchema;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

/// How many rows are hashed at a time, column by column.
const AT_ONCE: usize = 1024;
/// The hashes of so many items need no memory of their own.
const FEW: usize = 16;
/// What all NaN are taken for.
const NAN: u64 = 0x7ff8_0000_0000_0000;

/// A batch whose rows can be hashed.
pub struct Rows<'a>(Node<'a>);

impl<'a> Rows<'a> {
    /// None for a type or a layout that the lake does not have.
    ///
    /// # Safety
    /// Both must be whole, as Arrow's C data interface has them, and belong together.
    pub unsafe fn of(schema: &FFI_ArrowSchema, batch: &'a FFI_ArrowArray) -> Option<Self> {
        unsafe { Node::of(schema, batch).map(Rows) }
    }

    /// The sum over all rows; None for places that lie outside of their buffers.
    pub fn sum(&self) -> Option<u128> {
        let Values::Struct(columns) = &self.0.values else { return None };
        let (mut sum, mut rows) = (0u128, [0u128; AT_ONCE]);
        for from in (0..self.0.length).step_by(AT_ONCE) {
            let rows = &mut rows[..AT_ONCE.min(self.0.length - from)];
            rows.fill(0);
            for column in columns {
                column.node.add_to(rows, self.0.offset + from, column.seed)?;
            }
            sum = rows.iter().fold(sum, |sum, row| sum.wrapping_add(hash_of(*row, 0)));
        }
        Some(sum)
    }
}

/// The values of an array of bytes; None for one of another type, or laid out in another way.
///
/// # Safety
/// As for `Rows::of`.
pub unsafe fn bytes_of<'a>(schema: &FFI_ArrowSchema, array: &'a FFI_ArrowArray) -> Option<Vec<Option<&'a [u8]>>> {
    let node = unsafe { Node::of(schema, array) }?;
    let Values::Bytes(ends, data) = node.values else { return None };
    (0..node.length)
        .map(|place| {
            if node.valid.is_some_and(|bits| !bit(bits, node.offset + place)) {
                return Some(None);
            }
            let (from, to) = (ends[node.offset + place] as usize, ends[node.offset + place + 1] as usize);
            data.get(from..to).map(Some)
        })
        .collect()
}

/// One array: its values are those from `offset` on.
struct Node<'a> {
    offset: usize,
    length: usize,
    valid: Option<&'a [u8]>,
    values: Values<'a>,
}

enum Values<'a> {
    Boolean(&'a [u8]),
    Int32(&'a [i32]),
    Int64(&'a [i64]),
    Double(&'a [f64]),
    Decimal(&'a [[u8; 16]], u8),
    Bytes(&'a [i32], &'a [u8]),
    List(&'a [i32], Box<Node<'a>>),
    Map(&'a [i32], Box<Node<'a>>),
    Struct(Vec<Part<'a>>),
}

/// A column, or a field of a STRUCT; `seed` is of its name.
struct Part<'a> {
    seed: u64,
    node: Node<'a>,
}

impl<'a> Node<'a> {
    unsafe fn of(schema: &FFI_ArrowSchema, array: &'a FFI_ArrowArray) -> Option<Self> {
        let (offset, length) = (array.offset(), array.len());
        let end = offset.checked_add(length)?;
        if schema.dictionary().is_some() || array.num_buffers() == 0 {
            return None;
        }
        let places = if length == 0 { 0 } else { end + 1 };
        let values = unsafe {
            match schema.format() {
                "b" => Values::Boolean(buffer(array, 1, end.div_ceil(8))?),
                "i" | "tdD" => Values::Int32(buffer(array, 1, end)?),
                "l" => Values::Int64(buffer(array, 1, end)?),
                "g" => Values::Double(buffer(array, 1, end)?),
                "u" | "z" => {
                    let ends = buffer(array, 1, places)?;
                    Values::Bytes(ends, buffer(array, 2, last(ends)?)?)
                }
                "+l" => Values::List(buffer(array, 1, places)?, Self::items(schema, array, places)?),
                "+m" => Values::Map(buffer(array, 1, places)?, Self::items(schema, array, places)?),
                "+s" => Values::Struct(Self::parts(schema, array, end)?),
                format if format.starts_with("tsu:") => Values::Int64(buffer(array, 1, end)?),
                format => {
                    let (_, scale) = format.strip_prefix("d:")?.split_once(',')?;
                    Values::Decimal(buffer(array, 1, end)?, scale.parse().ok()?)
                }
            }
        };
        let has_nulls = array.null_count_opt() != Some(0) && !array.buffer(0).is_null();
        let valid = if has_nulls { Some(unsafe { buffer(array, 0, end.div_ceil(8)) }?) } else { None };
        Some(Node { offset, length, valid, values })
    }

    /// The items of lists; they have at least as many as the lists say.
    unsafe fn items(schema: &FFI_ArrowSchema, array: &'a FFI_ArrowArray, places: usize) -> Option<Box<Self>> {
        let items = unsafe { Self::of(child(schema, array, 0)?, array.child(0)) }?;
        (last(unsafe { buffer(array, 1, places) }?)? <= items.length).then(|| Box::new(items))
    }

    /// The fields; each has at least `end` values.
    unsafe fn parts(schema: &FFI_ArrowSchema, array: &'a FFI_ArrowArray, end: usize) -> Option<Vec<Part<'a>>> {
        let mut parts = Vec::with_capacity(array.num_children());
        for place in 0..array.num_children() {
            let field = child(schema, array, place)?;
            let node = unsafe { Self::of(field, array.child(place)) }?;
            if node.length < end {
                return None;
            }
            parts.push(Part { seed: xxh3_64(field.name()?.as_bytes()), node });
        }
        Some(parts)
    }

    fn is_valid(&self, place: usize) -> bool {
        let at = self.offset + place;
        self.valid.is_none_or(|bits| bit(bits, at))
    }

    /// Adds the hash of each value that is not NULL to its row; `from` is the place of the first row's value.
    fn add_to(&self, rows: &mut [u128], from: usize, seed: u64) -> Option<()> {
        if let Values::Struct(parts) = &self.values {
            let mut sums = [0u128; AT_ONCE];
            let sums = &mut sums[..rows.len()];
            for part in parts {
                part.node.add_to(sums, self.offset + from, part.seed)?;
            }
            return self.add_each(rows, from, |place| Some(hash_of(sums[place - from], seed)));
        }
        self.add_each(rows, from, |place| self.hash(place, seed))
    }

    fn add_each(&self, rows: &mut [u128], from: usize, hash: impl Fn(usize) -> Option<u128>) -> Option<()> {
        for (number, row) in rows.iter_mut().enumerate() {
            if self.is_valid(from + number) {
                *row = row.wrapping_add(hash(from + number)?);
            }
        }
        Some(())
    }

    /// The hash of a value that is not NULL. `place` counts from the array's first value.
    fn hash(&self, place: usize, seed: u64) -> Option<u128> {
        let at = self.offset + place;
        Some(match &self.values {
            Values::Boolean(bits) => xxh3_128_with_seed(&[u8::from(bit(bits, at))], seed),
            Values::Int32(numbers) => xxh3_128_with_seed(&i64::from(numbers[at]).to_le_bytes(), seed),
            Values::Int64(numbers) => xxh3_128_with_seed(&numbers[at].to_le_bytes(), seed),
            Values::Double(numbers) => {
                let bits = if numbers[at].is_nan() { NAN } else { numbers[at].to_bits() };
                xxh3_128_with_seed(&bits.to_le_bytes(), seed)
            }
            Values::Decimal(numbers, scale) => decimal_hash(i128::from_le_bytes(numbers[at]), *scale, seed),
            Values::Bytes(ends, data) => xxh3_128_with_seed(data.get(ends[at] as usize..ends[at + 1] as usize)?, seed),
            _ => self.nested_hash(at, seed)?,
        })
    }

    fn nested_hash(&self, at: usize, seed: u64) -> Option<u128> {
        match &self.values {
            Values::Struct(parts) => {
                let mut sum = 0u128;
                for part in parts {
                    if part.node.is_valid(at) {
                        sum = sum.wrapping_add(part.node.hash(at, part.seed)?);
                    }
                }
                Some(hash_of(sum, seed))
            }
            Values::List(ends, items) => {
                let (from, to) = (ends[at] as usize, ends[at + 1] as usize);
                let (mut few, mut many) = ([0u8; 16 * FEW], Vec::new());
                let size = 16 * to.checked_sub(from)?;
                let hashes = if size <= few.len() {
                    &mut few[..size]
                } else {
                    many.resize(size, 0);
                    &mut many
                };
                for (item, bytes) in (from..to).zip(hashes.chunks_exact_mut(16)) {
                    bytes.copy_from_slice(&items.hash_or_zero(item)?.to_le_bytes());
                }
                Some(xxh3_128_with_seed(hashes, seed))
            }
            Values::Map(ends, entries) => {
                let Values::Struct(parts) = &entries.values else { return None };
                let [key, value] = parts.as_slice() else { return None };
                let mut sum = 0u128;
                for entry in ends[at] as usize..ends[at + 1] as usize {
                    let mut pair = [0u8; 32];
                    pair[..16].copy_from_slice(&key.node.hash_or_zero(entries.offset + entry)?.to_le_bytes());
                    pair[16..].copy_from_slice(&value.node.hash_or_zero(entries.offset + entry)?.to_le_bytes());
                    sum = sum.wrapping_add(xxh3_128_with_seed(&pair, 0));
                }
                Some(hash_of(sum, seed))
            }
            _ => None,
        }
    }

    fn hash_or_zero(&self, place: usize) -> Option<u128> {
        if self.is_valid(place) { self.hash(place, 0) } else { Some(0) }
    }
}

fn hash_of(sum: u128, seed: u64) -> u128 {
    xxh3_128_with_seed(&sum.to_le_bytes(), seed)
}

/// Of the number without zeros at the end of its fraction, and how long that is: a wider type keeps the value.
fn decimal_hash(mut number: i128, mut scale: u8, seed: u64) -> u128 {
    while scale > 0 {
        number = match i64::try_from(number) {
            Ok(small) if small % 10 == 0 => i128::from(small / 10),
            Err(_) if number % 10 == 0 => number / 10,
            _ => break,
        };
        scale -= 1;
    }
    let mut bytes = [scale; 17];
    bytes[..16].copy_from_slice(&number.to_le_bytes());
    xxh3_128_with_seed(&bytes, seed)
}

fn bit(bits: &[u8], at: usize) -> bool {
    bits[at / 8] >> (at % 8) & 1 == 1
}

fn child<'a>(schema: &'a FFI_ArrowSchema, array: &FFI_ArrowArray, place: usize) -> Option<&'a FFI_ArrowSchema> {
    (place < array.num_children() && place < schema.children().count()).then(|| schema.child(place))
}

fn last(ends: &[i32]) -> Option<usize> {
    ends.last().map_or(Some(0), |&end| usize::try_from(end).ok())
}

/// A buffer's first `count` values; None where it is not there, or not aligned as they need.
unsafe fn buffer<T>(array: &FFI_ArrowArray, index: usize, count: usize) -> Option<&[T]> {
    if count == 0 {
        return Some(&[]);
    }
    let start: *const T = (index < array.num_buffers()).then(|| array.buffer(index))?.cast();
    if start.is_null() || !start.is_aligned() {
        return None;
    }
    Some(unsafe { std::slice::from_raw_parts(start, count) })
}
