"""A labelled set scored with a bundle, and its worst mistakes as a page with pictures.

scored_rows   a bundle's decisions on rows, each beside its label
summary       rates with intervals over groups, slice by slice; the worst mistakes
thumbnails    frames as small JPEGs
page          all of it as one page that loads nothing
files         scores.json, scores.csv, mistakes.html
"""
