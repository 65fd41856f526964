//! Answers of ksqlDB into Arrow, as `pipeline/decode/layout.py` has it.
//!
//! What is read here means exactly what the reference in Python makes of it. Whatever is not of the usual form, good or
//! bad, is left to that: no value is guessed, and no refusal is decided or worded here.

mod arrays;
mod base64;
mod column;
mod cursor;
mod ends;
mod kinds;
mod numbers;
mod rows;
mod times;

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_data::ffi::FFI_ArrowArray;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyTuple};

/// Where the elements in `data` end, the place of the closing bracket or -1, and the state behind `data`.
#[pyfunction]
fn scan<'py>(
    py: Python<'py>,
    data: &[u8],
    depth: i64,
    quoted: bool,
    escaped: bool,
) -> (Bound<'py, PyBytes>, i64, (i64, bool, bool)) {
    let found = ends::scan(data, ends::State { depth, quoted, escaped });
    let state = found.state;
    (PyBytes::new(py, &found.ends), found.closed_at, (state.depth, state.quoted, state.escaped))
}

#[pyclass(frozen)]
struct Decoder {
    streamed: bool,
    kinds: Vec<kinds::Kind>,
}

#[pymethods]
impl Decoder {
    #[new]
    fn new(streamed: bool, kinds: Vec<Bound<'_, PyTuple>>) -> PyResult<Self> {
        let kinds = kinds.iter().map(kinds::kind_of).collect::<PyResult<_>>()?;
        Ok(Decoder { streamed, kinds })
    }

    /// The rows as a capsule `arrow_array`, and which of them are deletes; None for what is not of the usual form.
    fn decode<'py>(&self, py: Python<'py>, elements: &[u8]) -> PyResult<Option<(Bound<'py, PyCapsule>, Vec<usize>)>> {
        let read =
            py.detach(|| catch_unwind(AssertUnwindSafe(|| rows::read_rows(elements, self.streamed, &self.kinds))));
        let Ok(Ok(rows)) = read else { return Ok(None) };
        let array = FFI_ArrowArray::new(&rows.batch);
        Ok(Some((PyCapsule::new(py, array, Some(c"arrow_array".into()))?, rows.tombstones)))
    }
}

#[pymodule]
fn ksqldb_lake_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(scan, module)?)?;
    module.add_class::<Decoder>()
}
