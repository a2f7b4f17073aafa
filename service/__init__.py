"""POST /classify: a video and its texts -> calibrated verdicts, from one of two arms.

The flow of a start: ``__main__`` reads ``settings``, ``app`` builds the components, ``arms`` verify their
bundles, warm up and replay their golden examples, ``readiness`` opens the door. The flow of a request is in
``pipeline``, one line for each stage.
"""
