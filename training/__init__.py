"""Manifest -> teacher -> soft targets -> student -> calibration -> report.

    manifest, validation, builders, synthetic   rows of clips, titles, labels and privileged features
    privileged                                  standardised privileged features with a presence mask
    frame_cache, shards                         clips decoded once through ``contract``: files, or Parquet shards
    batches, batch_inputs, prefetch             rows -> padded batches, read ahead by worker processes
    models                                      xvlm (student and baseline) and df_xvlm (teacher)
    distillation                                cross-entropy, PFD, CPFD, rivals and controls: one registry
    engine                                      one epoch of training, one pass of prediction; knows no config
    fit, soft_targets, calibrate, evaluate      the stages of a run, each with its artefact
    batch_loss, teachers                        a method's loss of a batch; the teachers that methods ask for
    experiment, report                          all methods over seeds, and what came of it
    synthetic_benchmark                         every method where the right answer is known

Each artefact names the digest of the one before it. Only the teacher ever reads a privileged feature.
"""
