"""Values as ksqlDB sends them, into typed Arrow columns: by declared type, never by the look of a token.

The contract, which each implementation in this folder keeps (`reference` is the one in Python), is two functions:

- `json_type(type)`: what a decoder of JSON is to make of a column of that type, so that no digit is lost: a DECIMAL
  stays text until it is a decimal, a BIGINT is never a float. A value of another kind is refused while it is decoded.
- `to_array(values, type, column, inside_struct)`: the decoded values of one column as an Arrow array of exactly
  `pipeline.columns.arrow_type(type)`, one for each value, in their order, null where they are null. A value that the
  Arrow type cannot hold exactly is a ValueNotRepresentable that names the column. The values are left as they were.

Each type has one form in which its values come (`Scalar.sent_as` in `pipeline.columns`); an implementation knows all
forms and no types. `inside_struct` is for what the server wraps in a STRUCT, where it sends other forms.
"""
