"""Figures against objectives.

In: a record, its plan, objectives. Out: checks, a capacity, an exit code.
Imports: ``measurement``, ``objectives``, ``shapes``.
"""
