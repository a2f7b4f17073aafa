"""Foreign pretrained weights -> our modules: sources are checked, names translated, faults listed."""
