//! A consumer of Kafka whose records become Arrow arrays, without an object for each: see `pipeline/kafka/consumer.py`.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::Mutex;

use arrow_data::ffi::FFI_ArrowArray;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::librdkafka::{CONSUMER, Library, Message, Object};
use crate::records::Records;

/// Codes and words of errors that the library reported.
type Errors = Vec<(c_int, String)>;
/// An error in a partition, by its code, partition and offset: the end of a partition too.
type Mark = (c_int, i32, i64);
type Taken<'py> = (Bound<'py, PyCapsule>, Vec<Mark>, Errors);

/// Not to be used by two threads at once.
#[pyclass(frozen)]
pub struct Consumer {
    library: Library,
    client: Object,
    queue: Object,
    heard: Box<Mutex<Errors>>,
    is_closed: Mutex<bool>,
}

// SAFETY: librdkafka's objects may be used by any thread.
unsafe impl Send for Consumer {}
unsafe impl Sync for Consumer {}

#[pymethods]
impl Consumer {
    /// `file` is a library that uses librdkafka. Raises OSError where the functions are not found there, ValueError with
    /// a code and words for settings that the library refuses.
    #[new]
    fn new(file: &str, options: Vec<(String, String)>) -> PyResult<Self> {
        let library = Library::of(&text(file)?).ok_or_else(|| PyOSError::new_err("no librdkafka is found"))?;
        let heard = Box::new(Mutex::new(Errors::new()));
        let (client, queue) = unsafe {
            let settings = (library.conf_new)();
            let mut words = [0 as c_char; 512];
            for (name, value) in options {
                let (name, value) = (text(&name)?, text(&value)?);
                if (library.conf_set)(settings, name.as_ptr(), value.as_ptr(), words.as_mut_ptr(), words.len()) != 0 {
                    (library.conf_destroy)(settings);
                    return Err(PyValueError::new_err((INVALID, words_of(words.as_ptr()))));
                }
            }
            (library.conf_set_opaque)(settings, (&raw const *heard).cast_mut().cast());
            (library.conf_set_error_cb)(settings, hear);
            let client = (library.new)(CONSUMER, settings, words.as_mut_ptr(), words.len());
            if client.is_null() {
                (library.conf_destroy)(settings);
                return Err(PyValueError::new_err(((library.last_error)(), words_of(words.as_ptr()))));
            }
            (library.poll_set_consumer)(client);
            (client, (library.queue_get_consumer)(client))
        };
        Ok(Consumer { library, client, queue, heard, is_closed: Mutex::new(false) })
    }

    /// Reads these partitions from these offsets on.
    fn assign(&self, topic: &str, first: Vec<(i32, i64)>) -> PyResult<()> {
        self.with_partitions(topic, &first, self.library.assign)
    }

    /// Reads nothing more of these partitions.
    fn pause(&self, topic: &str, partitions: Vec<i32>) -> PyResult<()> {
        let places: Vec<(i32, i64)> = partitions.into_iter().map(|partition| (partition, 0)).collect();
        self.with_partitions(topic, &places, self.library.pause_partitions)
    }

    /// At most `most` records, those that came within `wait_ms`, as a capsule `arrow_array`; the errors among them, and
    /// those that were reported meanwhile. Raises RuntimeError for more bytes than an array has places for.
    fn take<'py>(&self, py: Python<'py>, most: usize, wait_ms: c_int) -> PyResult<Taken<'py>> {
        self.refuse_closed()?;
        let (records, marks) = py.detach(|| self.read(most, wait_ms));
        let records = records.and_then(|records| records.finish().ok());
        let array = records.ok_or_else(|| PyRuntimeError::new_err("too many bytes at once"))?;
        let heard = std::mem::take(&mut *self.heard.lock().unwrap_or_else(|broken| broken.into_inner()));
        Ok((PyCapsule::new(py, FFI_ArrowArray::new(&array), Some(c"arrow_array".into()))?, marks, heard))
    }

    /// To be called once; nothing else after it.
    fn close(&self, py: Python<'_>) {
        py.detach(|| self.end());
    }
}

impl Consumer {
    fn read(&self, most: usize, wait_ms: c_int) -> (Option<Records>, Vec<Mark>) {
        let mut messages = vec![null_mut::<Message>(); most];
        // SAFETY: there is room for `most` messages, and each one that comes is valid until it is destroyed.
        let count =
            unsafe { (self.library.consume_batch_queue)(self.queue, wait_ms, messages.as_mut_ptr(), messages.len()) };
        let (mut records, mut marks, mut fits) = (Records::default(), Vec::new(), true);
        for &message in &messages[..usize::try_from(count).unwrap_or(0)] {
            unsafe {
                let found = &*message;
                if found.error == 0 {
                    let mut kind = 0;
                    let time = (self.library.message_timestamp)(message, &raw mut kind);
                    let time = (kind != 0).then_some(time);
                    fits = fits && records.append(found, time).is_some();
                } else {
                    marks.push((found.error, found.partition, found.offset));
                }
                (self.library.message_destroy)(message);
            }
        }
        (fits.then_some(records), marks)
    }

    fn with_partitions(
        &self,
        topic: &str,
        places: &[(i32, i64)],
        act: unsafe extern "C" fn(Object, Object) -> c_int,
    ) -> PyResult<()> {
        self.refuse_closed()?;
        let (library, topic) = (&self.library, text(topic)?);
        let code = unsafe {
            let list = (library.topic_partition_list_new)(places.len() as c_int);
            for &(partition, offset) in places {
                (library.topic_partition_list_add)(list, topic.as_ptr(), partition);
                (library.topic_partition_list_set_offset)(list, topic.as_ptr(), partition, offset);
            }
            let code = act(self.client, list);
            (library.topic_partition_list_destroy)(list);
            code
        };
        if code == 0 { Ok(()) } else { Err(PyValueError::new_err((code, "partitions that cannot be read"))) }
    }

    fn refuse_closed(&self) -> PyResult<()> {
        let is_closed = *self.is_closed.lock().unwrap_or_else(|broken| broken.into_inner());
        if is_closed { Err(PyRuntimeError::new_err("the consumer is closed")) } else { Ok(()) }
    }

    fn end(&self) {
        let mut is_closed = self.is_closed.lock().unwrap_or_else(|broken| broken.into_inner());
        if !std::mem::replace(&mut *is_closed, true) {
            unsafe {
                (self.library.consumer_close)(self.client);
                (self.library.queue_destroy)(self.queue);
                (self.library.destroy)(self.client);
            }
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.end();
    }
}

/// RD_KAFKA_RESP_ERR__INVALID_ARG.
const INVALID: c_int = -186;

unsafe extern "C" fn hear(_: Object, code: c_int, words: *const c_char, heard: *mut c_void) {
    // SAFETY: what was given as opaque; it lives as long as the client.
    let heard = unsafe { &*heard.cast::<Mutex<Errors>>() };
    if let Ok(mut heard) = heard.lock() {
        heard.push((code, words_of(words)));
    }
}

fn words_of(words: *const c_char) -> String {
    if words.is_null() { String::new() } else { unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned() }
}

fn text(text: &str) -> PyResult<CString> {
    CString::new(text).map_err(|_| PyValueError::new_err((INVALID, "a text with a zero in it")))
}
