"""X-VLM (student, baseline) and DF-X-VLM (teacher) as pure modules; ``weights`` fills them with others' weights.

In: a configuration. Out: modules that map frames, tokens and, for a teacher, privileged features to logits.
Imports ``training.data`` for what a teacher must know of its privileged features, nothing above.
"""
