"""X-VLM (student, baseline) and DF-X-VLM (teacher). Pure modules: no files, no configuration reading.

Shape suffixes used throughout:

    B batch   T frames   H, W pixels   C colour channels   P patches of a frame   V vision tokens
    L text tokens   D hidden width   G privileged groups   F features of a group   K logits of a task
"""
