"""The documentation as a site, in English and French, and its reference, which is written from the code."""
