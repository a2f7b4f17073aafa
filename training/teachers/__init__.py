"""The teachers of one trial -> logits of its training rows, and the confidence that CPFD reads from them.

In: a trial's rows and the role of the teacher that a method asks for. Out: soft targets, in sample or cross-fitted,
features where a method compares them, and a record of the teacher's confidence. Imports ``fitting`` and below.
"""
