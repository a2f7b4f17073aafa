"""All methods over seeds and folds. ``plan`` says what, ``run`` does it, the rest store and read predictions.

In: a manifest and a configuration. Out: a folder of checkpoints, predictions and controls, resumable at every step.
Imports ``teachers`` and below.
"""
