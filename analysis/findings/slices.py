"""The primary difference by slice (``Feedback.attributes``): exploratory, adjusted for how many were looked at."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from analysis.findings.numbers import difference_document, number
from analysis.findings.quality import labelled_units, primary_estimate
from analysis.log.rows import TaskRows
from analysis.question import Question
from analysis.statistics.multiplicity import holm

_MOST: Final = 30


def slices_document(rows: TaskRows, question: Question) -> list[dict[str, Any]]:
    """Slices with enough units that count in both arms, largest first, with Holm's adjustment over them."""
    labelled = rows.take(rows.labelled)
    found = []
    for attribute, values in sorted(labelled.slices.items()):
        for value in np.unique(values[values != ""].astype(str)):
            part = labelled.take(values == value)
            estimate, fewest = primary_estimate(part, question.primary)
            if fewest >= question.min_units:
                entry = difference_document(estimate, question, enough=True)
                units = labelled_units(part)
                found.append({"slice": f"{attribute} = {value}", "labelled_units": units, **entry})
    found.sort(key=lambda entry: -sum(entry["labelled_units"]))
    adjusted = holm({entry["slice"]: entry["always_valid_p"] for entry in found})
    return [entry | {"holm_p": number(adjusted[entry["slice"]])} for entry in found[:_MOST]]
