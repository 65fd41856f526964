"""Reads the keys and values of Kafka records exactly as ksqlDB reads them; start at `deserializer`.

ksqlDB's behaviour decides, even where another reading is plausible: it truncates 1.5 in a BIGINT, reads numbers from
text, and finds the fields of JSON by upper-cased names. A payload that ksqlDB cannot read gets a reason; so does one
whose reading is not certain, or whose value no column of the lake can hold.
"""
