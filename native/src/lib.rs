//! Answers of ksqlDB, and records' payloads, into Arrow, as `pipeline/decode/layout.py` has it.
//!
//! Every value decoded here is exactly what the reference in Python makes of it. Text that is not of the usual form,
//! valid or not, is left to the reference: no value is guessed, and no error is decided or worded here.

mod arrays;
mod blocks;
mod chunks;
mod column;
mod cursor;
mod ends;
mod kinds;
mod names;
mod numbers;
mod payloads;
mod rows;
mod sums;
mod times;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_data::ffi::FFI_ArrowArray;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyCapsule, PyTuple};

/// The places where the elements in `data` end, the place of the closing bracket or -1, and the state after `data`.
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

/// The content of HTTP's chunks of the usual form that begin at `at` and are whole, and the place behind them.
#[pyfunction]
fn whole_chunks<'py>(py: Python<'py>, data: &[u8], at: usize) -> (Bound<'py, PyBytes>, usize) {
    let (contents, end) = chunks::whole_chunks(data, at);
    (PyBytes::new(py, &contents), end)
}

/// The sum of the hashes of lines, most significant byte first; see `sums.rs`. `places` are 32-bit numbers in this
/// machine's order: where the first line begins, which is where `data` does, and where each one ends.
#[pyfunction]
fn sum_of_hashes<'py>(py: Python<'py>, data: &[u8], places: &[u8], tag: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let mut places = places.chunks_exact(4).map(|place| u32::from_ne_bytes(place.try_into().expect("four bytes")));
    let start = places.next().unwrap_or(0);
    let ends = places.map(|place| place.wrapping_sub(start) as usize);
    match py.detach(|| sums::sum_of_hashes(data, ends, tag)) {
        Some(sum) => Ok(PyBytes::new(py, &sum.to_be_bytes())),
        None => Err(PyValueError::new_err("a line ends outside of the data")),
    }
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

    /// The rows as a capsule `arrow_array`, and which of them are deletes; None if an element is not of the usual form.
    fn decode<'py>(&self, py: Python<'py>, elements: &[u8]) -> PyResult<Option<(Bound<'py, PyCapsule>, Vec<usize>)>> {
        let read =
            py.detach(|| catch_unwind(AssertUnwindSafe(|| rows::read_rows(elements, self.streamed, &self.kinds))));
        let Ok(Ok(rows)) = read else { return Ok(None) };
        let array = FFI_ArrowArray::new(&rows.batch);
        Ok(Some((PyCapsule::new(py, array, Some(c"arrow_array".into()))?, rows.tombstones)))
    }
}

#[pyclass(frozen)]
struct PayloadDecoder {
    has_prefix: bool,
    kind: kinds::Kind,
}

type Found<'py> = (Bound<'py, PyCapsule>, Vec<usize>, Vec<usize>);

#[pymethods]
impl PayloadDecoder {
    #[new]
    fn new(has_prefix: bool, kind: &Bound<'_, PyTuple>) -> PyResult<Self> {
        Ok(PayloadDecoder { has_prefix, kind: kinds::kind_of(kind)? })
    }

    /// The values as a capsule `arrow_array`, with null for what is not of the usual form, and the places of these and of
    /// missing payloads; None where no payload can be decoded.
    fn decode<'py>(&self, py: Python<'py>, payloads: Vec<Option<Bound<'py, PyBytes>>>) -> PyResult<Option<Found<'py>>> {
        let bytes: Vec<Option<&[u8]>> =
            payloads.iter().map(|payload| payload.as_ref().map(|one| one.as_bytes())).collect();
        let read = py
            .detach(|| catch_unwind(AssertUnwindSafe(|| payloads::read_payloads(&bytes, self.has_prefix, &self.kind))));
        let Ok(Ok(read)) = read else { return Ok(None) };
        let array = FFI_ArrowArray::new(&read.values);
        Ok(Some((PyCapsule::new(py, array, Some(c"arrow_array".into()))?, read.left, read.missing)))
    }
}

#[pymodule]
fn ksqldb_lake_native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_function(wrap_pyfunction!(scan, module)?)?;
    module.add_function(wrap_pyfunction!(whole_chunks, module)?)?;
    module.add_function(wrap_pyfunction!(sum_of_hashes, module)?)?;
    module.add_class::<Decoder>()?;
    module.add_class::<PayloadDecoder>()
}
