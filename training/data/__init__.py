"""Labelled rows, as files -> batches of tensors.

In: a manifest (rows, tasks, privileged features), clips, a vocabulary. Out: row sets and batches.
``frames`` keeps decoded clips, ``loading`` makes batches. Imports ``contract`` and ``training.config`` alone.
"""
