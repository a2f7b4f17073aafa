"""The decision log: what an experiment must remember, written once and never lost without a word.

    settings      where it lies, what a full disk means
    files         names, locks: which file has a live writer
    store         one SQLite file: a group of records -> one commit
    group         the thread that owns the file: many appends, one fsync; rotation, failure, recovery
    writer        DecisionLog, NullLog: what requests call
    endings       how a request ended -> its record
    reading       every record of a directory, whatever it lies in
    compaction    closed SQLite files -> Parquet; retention
    shipping      Parquet -> object storage
    feedback      labels that come later -> records; feedback_file: the same from files

What commands alone do (compaction, shipping) imports pyarrow and fsspec where it needs them: serving has neither.
"""
