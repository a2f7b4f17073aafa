"""Decoded clips and their rows in Parquet shards, on a disk or in an object store.

index         the document that names every shard and its digest, and what the shards were made from
picture       frames <-> bytes, without loss
pack          manifest and frames -> shards
store         shards -> frames, one row group at a time
"""
