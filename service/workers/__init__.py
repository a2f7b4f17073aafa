"""Processes that may be killed at any moment, and the jobs they are handed.

    job        what a process is asked, and whoever waits for the answer
    deaths     why a process ended: by its own doing, or from outside
    mending    how processes that clips have ended are replaced
    backoff    how long to wait before the next start that may fail too
    quarantine clips that ended their decoder, by digest
    ending     tells at once when a process is gone
    patience   how long a process is left alone with a job
    processes  keeps them alive, hands them jobs, ends those that hang

Which job comes next is not decided here: see ``service.scheduling``.
"""
