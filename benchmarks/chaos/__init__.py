"""``make chaos``: hostile callers beside honest ones, and what the honest ones notice.

registry     scenarios by name; each family of them is a module of its own, named in ``FAMILIES``
connections  what a stranger does with sockets: slowly, without end, halfway, too many
decode       what clips do to the decode pool, and those who send them
service      a started service, and what it shows of itself
honest       callers who know what they must be answered
run          alone, attacked, alone again: one scenario's figures
report       figures -> judgement, JSON and Markdown
attacker     the process in which an attack runs, at the lowest priority
"""
