"""Decision log and labels -> does the new arm replace the old one?

    log         SQLite, Parquet and label files -> arrays of one experiment, every record once
    statistics  ratios, intervals, confidence sequences, tests: arrays in, numbers out; no log, no page
    findings    the questions of an experiment in their order: sample ratio, quality, paired, guardrails, decision
    page        the findings as one self-contained HTML page
    plan        before the start: power and the smallest effect that would be found
    simulation  made logs, and the proof that the statistics keep their promises

``python -m analysis report`` goes from the first to the fourth. Of the product it imports ``contract`` alone.
"""
