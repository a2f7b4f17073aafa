"""Shadow pairs: the same requests as both arms judged them. What chance gave one arm it gave the other too."""

from __future__ import annotations

from typing import Any

import numpy as np

from analysis.findings.metrics import RATIOS, task_sums
from analysis.findings.numbers import bounds, difference_document, number
from analysis.log.rows import PairRows
from analysis.question import Question
from analysis.statistics.bootstrap import percentile_interval, ratio_replicates
from analysis.statistics.counts import mcnemar
from analysis.statistics.ratio import UnitSums, estimates, paired_differences, sum_by_unit


def paired_document(
    pairs: PairRows, units: int, question: Question, *, calibrated: bool, seed: int
) -> dict[str, Any] | None:
    """Disagreement, McNemar's test and paired differences; None without pairs.

    Args:
        pairs: of one task.
        units: U.
        question: levels and replicates.
        calibrated: the flag score is a probability.
        seed: of this task's bootstrap.
    """
    total = len(pairs.control.unit)
    if not total:
        return None
    labelled = pairs.control.labelled
    control, treatment = pairs.control.take(labelled), pairs.treatment.take(labelled)
    sums = [task_sums(side, units) for side in (control, treatment)]
    differences = paired_differences(sums[1], sums[0])
    rng = np.random.default_rng([question.seed, 1000 + seed])
    counts = (sums[0].denominator != 0).any(axis=1) | (sums[1].denominator != 0).any(axis=1)
    both = UnitSums(
        np.concatenate([one.numerator[counts] for one in sums], axis=1),
        np.concatenate([one.denominator[counts] for one in sums], axis=1),
    )
    replicates = ratio_replicates(both, question.replicates, rng)
    metrics = {}
    for m, name in enumerate(RATIOS):
        if name == "brier" and not calibrated:
            continue
        moved = replicates[:, len(RATIOS) + m] - replicates[:, m]
        enough = differences[m].units >= question.min_units
        metrics[name] = {
            "arms": [number(one.values[m]) for one in sums],
            "enough_units": enough,
            **difference_document(differences[m], question, enough=enough),
            "bootstrap_interval": bounds(*percentile_interval(moved, question.alpha)),
        }
    return {
        "pairs": total,
        "labelled_pairs": int(labelled.sum()),
        "labelled_units": len(np.unique(control.unit)),
        "disagreement": _disagreement(pairs, units, question),
        "mcnemar": _mcnemar(pairs),
        "metrics": metrics,
    }


def _disagreement(pairs: PairRows, units: int, question: Question) -> dict[str, Any]:
    """Share of pairs, labelled or not, whose flags differ."""
    differ = (pairs.control.flagged != pairs.treatment.flagged)[:, None] * 1.0
    found = estimates(sum_by_unit(pairs.control.unit, differ, np.ones_like(differ), units))[0]
    return {"share": number(found.value), "interval": bounds(*found.interval(question.alpha))}


def _mcnemar(pairs: PairRows) -> dict[str, Any]:
    """McNemar's test on the first labelled pair of each unit, where every pair was as likely to be labelled.

    Where reviewers see what the deciding arm flagged more often than what it passed, pairs are not a fair coin even if
    the arms are equally good; then the weighted differences alone are valid, and the test says why it is missing.
    """
    labelled = pairs.control.labelled
    weights = pairs.control.weight[labelled]
    if not len(weights):
        return {"p_value": None, "why": "no pair is labelled"}
    if not np.allclose(weights, weights[0]):
        return {
            "p_value": None,
            "why": "pairs were labelled with different probabilities: read the differences instead",
        }
    control, treatment = pairs.control.take(labelled), pairs.treatment.take(labelled)
    first = np.unique(control.unit, return_index=True)[1]
    first.sort()
    positive = control.positive[first]
    test = mcnemar(treatment.flagged[first] == positive, control.flagged[first] == positive)
    return {
        "units": len(first),
        "treatment_right": test.treatment_right,
        "control_right": test.control_right,
        "p_value": number(test.p_value),
        "always_valid_p": number(test.always_valid_p),
        "why": None,
    }
