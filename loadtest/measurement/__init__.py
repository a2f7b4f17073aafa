"""What was recorded of a run, and the figures of it.

In: samples and beats. Out: figures of each stage and arm, the generator's headroom.
Imports: ``objectives``, ``shapes``.
"""
