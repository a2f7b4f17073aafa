"""One decode process, seen from both sides.

    start      a process from nothing, with nothing of the service's
    nursery    what workers are forked from: it has loaded everything, and sees no clip
    worker     the process in which native code meets hostile bytes
    template   the nursery seen from the service: asked for copies, kept fresh
    process    a worker seen from the service: started, asked, ended
    lines      what they say to each other
    answer     what a worker said, believed only once it was checked

How many there are and which job each has is not decided here: see ``service.workers`` and ``service.stages.decode``.
"""
