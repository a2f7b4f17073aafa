"""Rows -> batches: ``row_set`` holds rows, ``epoch_batches`` plans and reads, ``read_ahead`` reads in workers."""
