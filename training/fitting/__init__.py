"""One training: a row set and a loss -> a calibrated checkpoint.

``fit`` is the whole of it; ``train_step`` is one step, ``loop`` the epochs around it, ``resume`` and ``checkpoint``
what is kept, ``predict`` what a model says of rows, ``shared_batches`` a batch divided among processes.
"""
