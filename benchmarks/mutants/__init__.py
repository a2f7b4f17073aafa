"""How hard the tests bite: a seeded sample of mutants, each run against the tests of its own package.

    packages    what is mutated, and which tests belong to it (packages.yaml)
    listing     every mutant that mutmut makes of a file, with its place and its diff
    substance   which of them change more than words and assertions
    scratch     a copy of the tracked files in which mutmut runs, and what it found
    results     the score, the survivors, and the ones that no test can tell apart (equivalent.yaml)

    python -m benchmarks.mutants --out docs/benchmarks --minutes 60

It resumes: mutants that have a result in the scratch folder (``.cache/mutants``) are not run again. Delete the folder
for a run that owes nothing to earlier ones.
"""
