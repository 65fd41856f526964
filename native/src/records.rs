//! Records of Kafka as Arrow columns: partition, offset, time, key and value.

use arrow_buffer::{Buffer, NullBufferBuilder};
use arrow_data::ArrayData;
use arrow_schema::{DataType, Fields};

use crate::arrays::{built, field};
use crate::cursor::Read;
use crate::librdkafka::Message;

pub struct Records {
    partitions: Vec<i32>,
    offsets: Vec<i64>,
    times: Vec<i64>,
    timed: NullBufferBuilder,
    keys: Bytes,
    values: Bytes,
}

impl Default for Records {
    fn default() -> Self {
        let (partitions, offsets, times) = Default::default();
        Records {
            partitions,
            offsets,
            times,
            timed: NullBufferBuilder::new(0),
            keys: Bytes::default(),
            values: Bytes::default(),
        }
    }
}

impl Records {
    /// Adds one; None for more bytes than an array has places for, after which nothing more is to be added.
    ///
    /// # Safety
    /// The message must not be destroyed yet.
    pub unsafe fn append(&mut self, message: &Message, time: Option<i64>) -> Option<()> {
        self.partitions.push(message.partition);
        self.offsets.push(message.offset);
        self.times.push(time.unwrap_or(0));
        self.timed.append(time.is_some());
        unsafe {
            self.keys.append(message.key, message.key_length)?;
            self.values.append(message.value, message.value_length)
        }
    }

    pub fn finish(mut self) -> Read<ArrayData> {
        let count = self.offsets.len();
        let columns = vec![
            built(DataType::Int32, count, None, vec![Buffer::from_vec(self.partitions)], vec![])?,
            built(DataType::Int64, count, None, vec![Buffer::from_vec(self.offsets)], vec![])?,
            built(DataType::Int64, count, self.timed.finish(), vec![Buffer::from_vec(self.times)], vec![])?,
            self.keys.finish()?,
            self.values.finish()?,
        ];
        let parts: Fields = columns.iter().map(|column| field("", column, true)).collect();
        built(DataType::Struct(parts), count, None, vec![], columns)
    }
}

struct Bytes {
    ends: Vec<i32>,
    data: Vec<u8>,
    there: NullBufferBuilder,
}

impl Default for Bytes {
    fn default() -> Self {
        Bytes { ends: vec![0], data: Vec::new(), there: NullBufferBuilder::new(0) }
    }
}

impl Bytes {
    /// # Safety
    /// There are so many bytes at `start`, unless that is null.
    unsafe fn append(&mut self, start: *const u8, length: usize) -> Option<()> {
        if !start.is_null() {
            self.data.extend_from_slice(unsafe { std::slice::from_raw_parts(start, length) });
        }
        self.there.append(!start.is_null());
        self.ends.push(i32::try_from(self.data.len()).ok()?);
        Some(())
    }

    fn finish(mut self) -> Read<ArrayData> {
        let buffers = vec![Buffer::from_vec(self.ends), Buffer::from_vec(self.data)];
        built(DataType::Binary, self.there.len(), self.there.finish(), buffers, vec![])
    }
}
