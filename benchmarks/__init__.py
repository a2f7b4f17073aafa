"""Benchmarks: figures as ratios within one run, because the machines they run on are noisy."""
