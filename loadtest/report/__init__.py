"""Results as files for people and for CI: report.html, results.json, junit.xml.

In: results. Out: files. Imports: ``verdict``, ``measurement``.
"""
