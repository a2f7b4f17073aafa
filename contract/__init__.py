"""What training and serving must agree on, stated once.

The flow of one example, in order:

    input_spec   what a model reads: frames, sampling, size, text fields, token budgets
    video        file -> probe, limits, chosen frames (uint8 T,S,S,3)
    text         title, overlay text -> token ids
    example      raw example -> model inputs -> padded batch of named arrays
    decision     logits -> calibrated scores -> verdict
    bundle       the directory that carries all of the above beside the model

Nothing here imports torch, an HTTP framework or a model runtime.
"""
