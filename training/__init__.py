"""Manifest -> teacher -> soft targets -> student -> report. Rooms, each of which imports only those below it:

    report        what an experiment wrote -> words, tables, figures, one page
    experiment    trials over seeds and folds: what runs in which order, what is stored, what is resumed
    teachers      the teachers of a trial, their soft targets, cross-fitting
    fitting       one training: the step, the loop, checkpoint, resume; predictions of a model
    evaluation    scores -> calibration, thresholds, metrics, intervals, comparisons; controls
    distillation  losses, row weights, the table of methods
    models        encoders, X-VLM, DF-X-VLM, weights of others
    data          manifest, targets, privileged features, frames, batches

``config`` holds what changes predictions. ``recipes`` makes demonstration data and benchmarks out of these rooms.
"""
