"""Damaged media against the running service: ``damage`` makes files, ``__main__`` sends them and judges the answers."""
