//! Answers of ksqlDB, and records' payloads, into Arrow, as `pipeline/decode/layout.py` has it.
//!
//! Every value decoded here is exactly what the reference in Python makes of it. Text that is not of the usual form,
//! valid or not, is left to the reference: no value is guessed, and no error is decided or worded here.

mod arrays;
mod blocks;
mod chunks;
mod column;
mod consumer;
mod cursor;
mod ends;
mod kinds;
mod librdkafka;
mod names;
mod numbers;
mod payloads;
mod records;
mod row_hash;
mod rows;
mod sums;
mod times;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow_data::ffi::FFI_ArrowArray;
use arrow_schema::ffi::FFI_ArrowSchema;
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

/// The content of HTTP's chunks of the usual form, and the place behind them; see `chunks.rs`.
#[pyfunction]
fn usual_chunks<'py>(py: Python<'py>, data: &[u8], left: usize) -> PyResult<(Bound<'py, PyBytes>, usize)> {
    let (places, end) = chunks::contents(data, left);
    let content = PyBytes::new_with(py, places.iter().map(|place| place.len()).sum(), |mut content| {
        for place in places {
            let (here, rest) = content.split_at_mut(place.len());
            here.copy_from_slice(&data[place]);
            content = rest;
        }
        Ok(())
    })?;
    Ok((content, end))
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

/// The sum of the hashes of a batch's rows, most significant byte first; see `row_hash.rs`. The capsules are those of the
/// batch's `__arrow_c_array__`. None for a type that the lake does not have.
#[pyfunction]
fn sum_of_rows<'py>(
    py: Python<'py>,
    schema: &Bound<'py, PyCapsule>,
    batch: &Bound<'py, PyCapsule>,
) -> PyResult<Option<Bound<'py, PyBytes>>> {
    let (schema, batch) = unsafe { structures(schema, batch) }?;
    // SAFETY: whoever made the capsules fills them as Arrow's C data interface has it.
    let Some(rows) = (unsafe { row_hash::Rows::of(schema, batch) }) else { return Ok(None) };
    let sum = py.detach(|| catch_unwind(AssertUnwindSafe(|| rows.sum()))).ok().flatten();
    Ok(sum.map(|sum| PyBytes::new(py, &sum.to_be_bytes())))
}

/// What the capsules of an `__arrow_c_array__` hold.
///
/// # Safety
/// They must outlive what is returned.
unsafe fn structures<'a>(
    schema: &Bound<'a, PyCapsule>,
    array: &Bound<'a, PyCapsule>,
) -> PyResult<(&'a FFI_ArrowSchema, &'a FFI_ArrowArray)> {
    if schema.name()? != Some(c"arrow_schema") || array.name()? != Some(c"arrow_array") {
        return Err(PyValueError::new_err("these are no capsules of an array"));
    }
    // SAFETY: a capsule of that name has that structure.
    let (schema, array) = unsafe { (schema.reference::<FFI_ArrowSchema>(), array.reference::<FFI_ArrowArray>()) };
    if array.is_released() {
        return Err(PyValueError::new_err("the array was handed over before"));
    }
    Ok((schema, array))
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

    /// The rows at the beginning of `text` that are whole and of the usual form, after a comma where they `follow`
    /// others: a capsule `arrow_array`, which of them are deletes, and the place behind them. None without any.
    fn decode<'py>(
        &self,
        py: Python<'py>,
        text: &[u8],
        follow: bool,
    ) -> PyResult<Option<(Bound<'py, PyCapsule>, Vec<usize>, usize)>> {
        let read = || rows::read_rows(text, follow, self.streamed, &self.kinds);
        let Ok(Ok(rows)) = py.detach(|| catch_unwind(AssertUnwindSafe(read))) else { return Ok(None) };
        let array = FFI_ArrowArray::new(&rows.batch);
        Ok(Some((PyCapsule::new(py, array, Some(c"arrow_array".into()))?, rows.tombstones, rows.end)))
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
    /// missing payloads; None where no payload can be decoded. The capsules are those of the `__arrow_c_array__` of an
    /// array of bytes.
    fn decode<'py>(
        &self,
        py: Python<'py>,
        schema: &Bound<'py, PyCapsule>,
        payloads: &Bound<'py, PyCapsule>,
    ) -> PyResult<Option<Found<'py>>> {
        let (schema, array) = unsafe { structures(schema, payloads) }?;
        // SAFETY: whoever made the capsules fills them as Arrow's C data interface has it.
        let bytes = unsafe { row_hash::bytes_of(schema, array) };
        let bytes = bytes.ok_or_else(|| PyValueError::new_err("this is no array of bytes"))?;
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
    module.add_function(wrap_pyfunction!(usual_chunks, module)?)?;
    module.add_function(wrap_pyfunction!(sum_of_hashes, module)?)?;
    module.add_function(wrap_pyfunction!(sum_of_rows, module)?)?;
    module.add_class::<consumer::Consumer>()?;
    module.add_class::<Decoder>()?;
    module.add_class::<PayloadDecoder>()
}
