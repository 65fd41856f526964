"""Catalogs of Iceberg: each shows the tables that `publish --catalog` registers, and the next publication."""
