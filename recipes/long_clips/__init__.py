"""Two seconds of what is looked for in sixteen of other scenes: is the long clip found, and is the moment pointed at?

composition  long clips drawn from the clips of one fold, in pairs that differ in one scene
pictures     the pictures that the sampler would pick of a long clip, and what the frozen trunk makes of them
scores       ROC-AUC and share pointed at, with intervals over groups
command      all of it: ``python -m training long-clips``
"""
