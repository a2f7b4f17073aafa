"""How a student learns from labels and from a teacher that saw more than it does.

    task_losses   per-row cross-entropy and distillation terms of binary, multiclass and multilabel heads
    confidence    teacher logits (and labels) -> confidence weight of each row, in [0, 1]
    methods       the registry: ce, pfd, cpfd -> one loss of a task

The CPFD paper's loss equation was not available when this was written. What is called CPFD here is a formulation
consistent with its abstract; its parts are switches of ``DistillationConfig``.
"""
