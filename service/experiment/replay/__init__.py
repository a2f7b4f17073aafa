"""Replay: logged decisions and the media, by digest -> whether the scores come out again.

    evidence      what a decision needs to be made again: its bundle, its video, its texts; or what lacks
    reenactment   the way of a request with them, and what differs
    command       python -m service.experiment replay
    options       what it can be told

Nothing of it runs in the service.
"""
