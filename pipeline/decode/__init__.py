"""From bytes as ksqlDB sends them to typed Arrow columns: by declared type, never by the look of a token.

One contract, in `layout`: an engine finds where the elements of an answer end (`scan`), and makes many of them at once
one record batch (`Decoder.decode`). Every value is exact or the answer is refused: a decimal of any length, NaN and the
infinities; no row that is short or long, no fraction in a BIGINT, no field that was not declared. The engine in Python
is `rows` with `row_ends` and `reference`; `engine` chooses.

`reference` has the values of one column, for all that reads values in ksqlDB's own forms:

- `json_type(type)`: what a decoder of JSON is to make of a column of that type, so that no digit is lost: a DECIMAL
  stays text until it is a decimal, a BIGINT is never a float. A value of another kind is refused while it is decoded.
- `to_array(values, type, column, inside_struct)`: the decoded values of one column as an Arrow array of exactly
  `pipeline.columns.arrow_type(type)`, one for each value, in their order, null where they are null. A value that the
  Arrow type cannot hold exactly is a ValueNotRepresentable that names the column. The values are left as they were.

Each type has one form in which its values come (`Scalar.sent_as` in `pipeline.columns`); an engine knows all forms and
no types. `inside_struct` is for what the server wraps in a STRUCT, where it sends other forms.
"""
