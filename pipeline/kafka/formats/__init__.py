"""What a Kafka record's key and value say, read as ksqlDB reads them; `deserializer` is the way in.

ksqlDB's own reading is the measure, not what a payload could be taken for: it truncates 1.5 in a BIGINT, takes numbers
out of text, and finds the fields of JSON by upper-cased names. What it cannot read is left out with a reason, and so is
what it reads in a way that is not known for certain, or that no column of the lake can hold.
"""
