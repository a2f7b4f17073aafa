"""Before the start: how many units an experiment needs, and the smallest effect that it would find.

design (what one row and one unit tell) -> power (one look, or always valid by way of ``crossing``)
"""
