"""Own data: a CSV whose columns are named by the caller -> a manifest, split by group.

columns     which column means what
table       the CSV's records, with the line of each; every fault by line and column
tasks       the values of a label column -> a task, and the label of each row
rows        records -> rows: clips, texts, labels, privileged values, slices
splits      groups -> train, val and test, or folds; seeded
manifest    all of it together
card_words  what is known of the model card, and what is to be written
"""
