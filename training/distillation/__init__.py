"""How a student learns from labels and from a teacher that saw more than it does.

    task_losses   per-row cross-entropy and distillation terms of binary, multiclass and multilabel heads
    task_batch    what a method reads: rows, targets, soft targets, and where in the training they stand
    confidence    teacher logits (and labels) -> confidence c_i of each row, in [0, 1]
    shaping       confidence -> weight: power, floor, the same mean for every class
    advantage     teacher logits and labels -> how much of a task's uncertainty the teacher removes
    weighting     weight -> loss: scale, mix, norm
    methods       one file a method
    registry      name -> method, and the teacher each one needs

The CPFD paper's loss equation was not available when this was written. What is called CPFD here is a formulation
consistent with its abstract; its parts are switches of ``DistillationConfig``.
"""
