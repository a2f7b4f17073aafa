"""The questions of an experiment, in their order; each module answers one with a plain document (dict) for JSON.

assignment     did units fall into the arms as planned? if not, nothing else is a result
quality        per task and arm: metrics, intervals, differences
paired         the same on requests that both arms answered
guardrails     latency, errors, cost
over_time      does the effect wear off? how long do labels take?
slices         the effect by attribute
preconditions  the traffic light
decision       one sentence
report         all of it
"""
