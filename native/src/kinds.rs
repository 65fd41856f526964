//! The kinds of columns, in the notation of `pipeline.decode.native`.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::blocks::plain_length;

#[derive(Clone)]
pub enum Kind {
    Boolean,
    Int32,
    Int64,
    Double,
    Decimal {
        precision: u8,
        scale: i8,
        rounded: bool,
    },
    Text,
    Base64,
    Date,
    Time,
    Timestamp,
    /// A BIGINT that is kept as a TIMESTAMP.
    EpochMs,
    /// The following kinds are for payloads, in which ksqlDB accepts more forms of a value than it writes itself.
    LooseDouble,
    LooseDecimal {
        precision: u8,
        scale: i8,
    },
    LooseText,
    /// Whole numbers: a DATE in days since 1970, a TIME in milliseconds of its day.
    EpochDays,
    DayMs,
    /// Fields that are found by their name, or else by their name in upper case.
    LooseStruct(Vec<Vec<u8>>, Vec<Kind>),
    /// The text of the value as it is, for Python to read.
    Json,
    List(Box<Kind>),
    Map(Box<Kind>, Box<Kind>),
    Struct(Vec<Name>, Vec<Kind>),
}

/// The name of a struct's field.
#[derive(Clone)]
pub struct Name {
    pub name: Vec<u8>,
    /// The name as it mostly comes, with quotes and a colon; None where it cannot stand between quotes as it is.
    pub usual: Option<Vec<u8>>,
}

impl Name {
    fn new(name: Vec<u8>) -> Self {
        let is_plain = plain_length(&name) == name.len();
        Name { usual: is_plain.then(|| [b"\"", &name[..], b"\":"].concat()), name }
    }
}

/// Reads a kind from its tuple: a word and its arguments.
pub fn kind_of(spec: &Bound<'_, PyTuple>) -> PyResult<Kind> {
    let word: String = spec.get_item(0)?.extract()?;
    let inner = |place: usize| -> PyResult<Kind> { kind_of(spec.get_item(place)?.downcast()?) };
    Ok(match word.as_str() {
        "boolean" => Kind::Boolean,
        "int32" => Kind::Int32,
        "int64" => Kind::Int64,
        "double" => Kind::Double,
        "decimal" | "loose_decimal" => {
            let (precision, scale): (u8, i8) = (spec.get_item(1)?.extract()?, spec.get_item(2)?.extract()?);
            if precision == 0 || precision > 38 || scale < 0 || scale as u8 > precision {
                return Err(PyValueError::new_err("no such decimal"));
            }
            if word == "loose_decimal" {
                return Ok(Kind::LooseDecimal { precision, scale });
            }
            Kind::Decimal { precision, scale, rounded: spec.get_item(3)?.extract()? }
        }
        "text" => Kind::Text,
        "base64" => Kind::Base64,
        "date" => Kind::Date,
        "time" => Kind::Time,
        "timestamp" => Kind::Timestamp,
        "epoch_ms" => Kind::EpochMs,
        "json" => Kind::Json,
        "loose_double" => Kind::LooseDouble,
        "loose_text" => Kind::LooseText,
        "epoch_days" => Kind::EpochDays,
        "day_ms" => Kind::DayMs,
        "list" => Kind::List(Box::new(inner(1)?)),
        "map" => Kind::Map(Box::new(inner(1)?), Box::new(inner(2)?)),
        "struct" | "loose_struct" => {
            let names: Vec<String> = spec.get_item(1)?.extract()?;
            let fields = (2..spec.len()).map(inner).collect::<PyResult<Vec<Kind>>>()?;
            if names.len() != fields.len() {
                return Err(PyValueError::new_err("a name for each field"));
            }
            let names = names.into_iter().map(String::into_bytes);
            if word == "struct" {
                Kind::Struct(names.map(Name::new).collect(), fields)
            } else {
                Kind::LooseStruct(names.collect(), fields)
            }
        }
        _ => return Err(PyValueError::new_err(format!("no such kind: {word}"))),
    })
}
