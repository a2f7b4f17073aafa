"""Demonstration data and benchmarks, made out of ``training``: nothing here is needed to train on rows of one's own."""
