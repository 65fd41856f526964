"""Decodes bytes from ksqlDB to typed Arrow columns, by declared type, never by the form of a token.

The contract is in `layout`: an engine finds where the elements of an answer end (`scan`), and turns many of them into
one record batch (`Decoder.decode`). Every value is exact, with decimals of any length, NaN and the infinities, or the
answer is refused, as for a row with too few or too many values, a fraction in a BIGINT or an undeclared field. The
engine in Python is `rows` with `row_ends` and `reference`; `engine` chooses.

`reference` decodes the values of one column, for all code that reads values in ksqlDB's own forms:

- `json_type(type)`: the Python type for the JSON decoder with which no digit is lost: a DECIMAL stays text until it
  becomes a decimal, a BIGINT is never a float. The decoder refuses a value of another kind.
- `to_array(values, type, column, inside_struct)`: the decoded values of one column as an Arrow array of exactly
  `pipeline.columns.arrow_type(type)`, in order, null for None. A value that the Arrow type cannot hold exactly is a
  ValueNotRepresentable that names the column. The values are not modified.

`arrays` makes the arrays, of nested values too, for it and for the formats of Kafka.

The values of each type come in one form (`Scalar.sent_as` in `pipeline.columns`); an engine knows all forms and no
types. `inside_struct` is for values inside a STRUCT, where the server sends other forms.
"""
