"""The report as one self-contained HTML page.

report document -> words and tables -> page; report document -> figures (Matplotlib, inline SVG) -> page
"""
