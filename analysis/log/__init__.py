"""The decision log as arrays.

files -> database (every record once, DuckDB) -> flag labels -> rows (of one experiment)
"""
