"""What ``python -m training`` runs: one function a command, its options as parameters, its result as JSON on stdout.

A module here is imported when one of its commands is called, so that ``--help`` need not load torch.
"""
