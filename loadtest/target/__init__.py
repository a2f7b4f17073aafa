"""The service under test, as a client sees it: HTTP, what its answers count as, probes, and starting one for the demo.

In: messages, base URLs. Out: replies, outcomes. Imports: ``traffic``, ``measurement``.
"""
