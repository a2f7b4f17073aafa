"""What is sent, and when each request is due.

In: a plan (``shapes``), clips or a recipe for them. Out: arrivals, messages. Imports: ``shapes``.
"""
