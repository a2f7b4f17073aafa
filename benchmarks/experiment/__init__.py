"""The experiment on the running service: ``log_cost`` (of the decision log), ``held_out`` (an example with labels)."""
