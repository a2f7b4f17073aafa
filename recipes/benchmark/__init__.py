"""The benchmark of every method on every task: can the CPFD student's gain be believed?

sizes      how much is trained: quick, standard, every, confirm, full
schedule   trials and methods, spread over processes, resumed where they were
results    means over tasks, what was compared, what may be said of the published claims
provenance hardware, versions, digests, wall time
table      benchmark.md
selection  methods ranked on validation rows alone
command    all of it: ``python -m training benchmark``
"""
