"""The losses by which a student learns from labels and from a teacher that reads privileged features.

    task_losses   per-row cross-entropy and distillation terms of binary, multiclass and multilabel heads
    task_batch    what a method reads: logits, targets, soft targets, and the step of the training
    confidence    teacher logits (and labels) -> confidence c_i of each row, in [0, 1]
    row_weights   confidence -> weight: power, floor, the same mean for every class
    teacher_advantage  teacher logits and labels -> how much of a task's uncertainty the teacher removes
    weighted_losses  weight -> loss: scale, mix, norm
    methods       the loss functions
    registry      the table: name -> loss, teacher, settings
    batch_loss    the loss of a batch over all its tasks

The CPFD paper's loss equation was not available when this was written. What is called CPFD here is a formulation
consistent with its abstract; its parts are switches of ``DistillationConfig``.
"""
