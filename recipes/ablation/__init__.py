"""What each part of the student is worth: from scratch, pretrained, with motion, with the recipe, distilled.

rows       the table of settings, ``configs/ablation.yaml``
schedule   trains what is not complete
results    figures of each row and task, and what a row adds to the one above it
command    all of it: ``python -m training ablation``
"""
