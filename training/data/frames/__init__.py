"""Where a clip's frames come from: a cache of decoded clips, or Parquet shards. Both are a ``FrameStore``."""
