"""The loss functions of the methods: (rows of one task, options) -> scalar. ``registry`` is the table of methods."""
