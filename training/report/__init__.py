"""What an experiment wrote -> ``report.json`` (``build``), Markdown (``markdown``) and one page (``page``).

``titles`` and ``words`` are its language, ``figure_data`` and ``figures`` its pictures. Imports ``experiment``.
"""
