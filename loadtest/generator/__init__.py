"""Sends a run's traffic inside Locust, and gathers what every process recorded. Only this room knows Locust and gevent.

In: a run file. Out: a record. Imports: ``run_file``, ``target``, ``traffic``, ``measurement``, ``shapes``.
"""
