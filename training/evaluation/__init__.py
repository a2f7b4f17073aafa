"""Scores and labels -> metrics with intervals. Reads no checkpoint and no file of a run.

calibration   temperatures and thresholds, from validation rows alone
metrics       F1, PR-AUC and their kin under row weights
bootstrap     intervals and p-values over groups and seeds
comparisons   differences between methods, Holm's adjustment, share of the gap
controls      what is reached without looking at what a task is about
"""
