//! The functions of librdkafka that `consumer.rs` calls, found in the library that Kafka's Python client has loaded.
//!
//! Only its public interface (rdkafka.h), which later versions of librdkafka 1 and 2 keep.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::transmute;

/// rd_kafka_message_t.
#[repr(C)]
pub struct Message {
    pub error: c_int,
    _topic: *mut c_void,
    pub partition: i32,
    pub value: *const u8,
    pub value_length: usize,
    pub key: *const u8,
    pub key_length: usize,
    pub offset: i64,
    _private: *mut c_void,
}

/// An object of the library.
pub type Object = *mut c_void;
type Text = *const c_char;
pub type HearError = unsafe extern "C" fn(Object, c_int, Text, *mut c_void);

macro_rules! functions {
    ($($name:ident($($type:ty),*) $(-> $result:ty)?;)*) => {
        /// Each has its name in rdkafka.h, without `rd_kafka_`.
        pub struct Library { $(pub $name: unsafe extern "C" fn($($type),*) $(-> $result)?,)* }

        impl Library {
            /// Those that `file`, or a library that it needs, has; None where one is missing.
            pub fn of(file: &CStr) -> Option<Self> {
                let library = unsafe { dlopen(file.as_ptr(), RTLD_NOW) };
                if library.is_null() {
                    return None;
                }
                // SAFETY: rdkafka.h declares each name with this type.
                unsafe {
                    Some(Library { $($name: {
                        let found = dlsym(library, concat!("rd_kafka_", stringify!($name), "\0").as_ptr().cast());
                        if found.is_null() {
                            return None;
                        }
                        transmute::<Object, unsafe extern "C" fn($($type),*) $(-> $result)?>(found)
                    },)* })
                }
            }
        }
    };
}

functions! {
    conf_new() -> Object;
    conf_set(Object, Text, Text, *mut c_char, usize) -> c_int;
    conf_destroy(Object);
    conf_set_opaque(Object, *mut c_void);
    conf_set_error_cb(Object, HearError);
    new(c_int, Object, *mut c_char, usize) -> Object;
    last_error() -> c_int;
    poll_set_consumer(Object) -> c_int;
    topic_partition_list_new(c_int) -> Object;
    topic_partition_list_add(Object, Text, i32) -> Object;
    topic_partition_list_set_offset(Object, Text, i32, i64) -> c_int;
    topic_partition_list_destroy(Object);
    assign(Object, Object) -> c_int;
    pause_partitions(Object, Object) -> c_int;
    queue_get_consumer(Object) -> Object;
    queue_destroy(Object);
    consume_batch_queue(Object, c_int, *mut *mut Message, usize) -> isize;
    message_timestamp(*const Message, *mut c_int) -> i64;
    message_destroy(*mut Message);
    consumer_close(Object) -> c_int;
    destroy(Object);
}

/// The type of client that reads.
pub const CONSUMER: c_int = 1;

const RTLD_NOW: c_int = 2;

unsafe extern "C" {
    fn dlopen(file: Text, mode: c_int) -> Object;
    fn dlsym(library: Object, name: Text) -> Object;
}
