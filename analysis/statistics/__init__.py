"""Ratios, intervals, confidence sequences and tests: arrays in, numbers out.

Legend of shapes: U units, N rows, M metrics, R replicates of the bootstrap.
"""
