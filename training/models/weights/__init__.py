"""Weights that somebody else trained -> our modules: sources are checked, names translated, faults listed."""
