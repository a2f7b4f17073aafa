"""Ship or do not ship: the one rule that the report prints first and that the export applies (method.md 5.1).

Of one task and one student, on held-out rows, in this order:

    1  its positives and its negatives each stand in at least ``FEWEST_GROUPS`` groups, else there is too little data
    2  its ROC-AUC is above 0.5, beyond the interval
    3  its PR-AUC is above that of every control that looks at the file or the place alone, beyond the interval
    4  at its threshold it flags at most ``MAX_OVERKILL`` of the negatives
    5  at its threshold it flags a larger share of the positives than of the negatives

A task that fails one is not served. What is worth knowing but stops nothing is a caution. The rule reads
``report.json``, so that a report that was written once can be judged again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from training.evaluation.bootstrap import FEWEST_GROUPS
from training.evaluation.comparisons import BASELINE, COMPARED

Task = Mapping[str, Any]
Decision = Literal["ship", "do_not_ship", "too_little_data"]
MAX_OVERKILL = 0.5
"""Share of negatives: beyond it a flag says less than none."""
FREE_CONTROLS: Final = ("container_only", "background_only")
"""Controls that never look at what the task is about."""
WORD_CONTROL: Final = "tfidf_logistic"
CHANCE_ROC_AUC = 0.5
_ROUNDING = 1e-9
_TITLES: Final = {"f1": "F1", "pr_auc": "PR-AUC"}


@dataclass(frozen=True)
class ShipVerdict:
    """Whether one task's verdicts may be served.

    Attributes:
        decision: what the rule says.
        reason: why not; empty where it ships.
        needed: how much more held-out data would tell, as far as that can be said; else empty.
        near_chance: whether the student cannot be told from chance.
        cautions: what is worth knowing although it stops nothing.
    """

    decision: Decision
    reason: str = ""
    needed: str = ""
    near_chance: bool = False
    cautions: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As ``report.json`` holds it."""
        return {**vars(self), "cautions": list(self.cautions)}


def has_final(task: Task, method: str) -> bool:
    """Whether the report knows a student by this method that has seen every fold."""
    return method in task.get("final", {})


def at_thresholds(task: Task, method: str, *, final: bool) -> Mapping[str, Any]:
    """Metric -> its summary at the thresholds that are served.

    Args:
        task: an entry of ``report.json``'s ``tasks``.
        method: by its name in the report.
        final: whether the student that has seen every fold is served: then the trials' students at its thresholds, else
            each at its own.

    Raises:
        KeyError: the report was written before there was a final student.
    """
    found: Mapping[str, Any] = task["final"][method] if final else task["methods"][method]
    return found


def judge(task: Task, method: str, max_overkill: float = MAX_OVERKILL, *, final: bool = False) -> ShipVerdict:
    """The verdict on ``method``, a student or the baseline.

    Args:
        task: an entry of ``report.json``'s ``tasks``.
        method: by its name in the report.
        max_overkill: the largest share of held-out negatives that may be flagged.
        final: as in ``at_thresholds``.
    """
    own = task["methods"].get(method)
    if own is None:
        return ShipVerdict("do_not_ship", "the report does not judge this method")
    cautions = tuple(_cautions(task, method))
    if why := task.get("verdicts_withheld"):
        return ShipVerdict("too_little_data", why, _groups_lacking(task), cautions=cautions)
    if not _low(own["roc_auc"]) > CHANCE_ROC_AUC:
        reason = f"no better than chance on held-out rows: ROC-AUC {_in_words(own['roc_auc'])}"
        needed = _groups_to_tell(task, own["roc_auc"]["mean"], own["roc_auc"]["interval"], CHANCE_ROC_AUC)
        return ShipVerdict("do_not_ship", reason, needed, near_chance=True, cautions=cautions)
    for control in FREE_CONTROLS:
        pair = task["comparisons"].get(f"{method} - {control}", {}).get("pr_auc")
        if pair is None and control in task["methods"]:
            reason = f"the report does not compare it with the control {control}"
            return ShipVerdict("do_not_ship", reason, cautions=cautions)
        if pair is not None and not _low(pair) > 0:
            reason = f"no better than the control {control}: PR-AUC {_difference_in_words(pair)}"
            needed = _groups_to_tell(task, pair["difference"], pair["interval"], 0.0)
            return ShipVerdict("do_not_ship", reason, needed, cautions=cautions)
    if reason := threshold_fault(at_thresholds(task, method, final=final), max_overkill):
        return ShipVerdict("do_not_ship", reason, cautions=cautions)
    return ShipVerdict("ship", cautions=cautions)


def overall(verdicts: Mapping[str, ShipVerdict]) -> Decision:
    """Of all tasks together: ``ship`` where one does; ``too_little_data`` where that is all that can be said."""
    found = {verdict.decision for verdict in verdicts.values()}
    if "ship" in found:
        return "ship"
    return "too_little_data" if found == {"too_little_data"} else "do_not_ship"


def threshold_fault(own: Mapping[str, Any], max_overkill: float = MAX_OVERKILL) -> str:
    """What speaks against a threshold by its miss rate and overkill alone; empty where nothing does."""
    overkill = own["overkill"]["mean"]
    missed = own.get("miss_rate", {}).get("mean")
    if overkill is not None and overkill > max_overkill:
        return f"its threshold flags {overkill:.0%} of held-out negatives"
    if overkill is not None and missed is not None and 1 - missed <= overkill + _ROUNDING:
        return f"its threshold flags {1 - missed:.0%} of held-out positives and {overkill:.0%} of negatives"
    return ""


def _cautions(task: Task, method: str) -> Iterable[str]:
    for metric in COMPARED:
        entry = task["comparisons"].get(f"{method} - {BASELINE}", {}).get(metric, {})
        if entry.get("adjusted_verdict", entry.get("verdict")) == "worse":
            yield f"worse than the baseline in {_TITLES[metric]}, {_difference_in_words(entry)}: export the baseline"
    words = task["comparisons"].get(f"{method} - {WORD_CONTROL}", {}).get("pr_auc")
    if words is not None and not _low(words) > 0:
        worse = words.get("adjusted_verdict", words.get("verdict")) == "worse"
        how = "worse" if worse else "not shown to be better"
        yield f"{how} than counting words: PR-AUC {_difference_in_words(words)}"
    if task.get("seeds_per_fold") == [1]:
        yield "one seed a fold: intervals hold nothing of how much another seed would differ"
    for name, values in task.get("threshold_by_slice", {}).get(method, {}).items():
        for value, entry in values.items():
            yield from (f"{name} = {value}: {warning}" for warning in entry["warnings"])


def _groups_lacking(task: Task) -> str:
    """How many more groups of each class must be held out; empty in a report from before they were counted."""
    parts, in_all = [], []
    for kind, counted in task.get("classes", {}).items():
        groups = counted["groups"]
        if groups < FEWEST_GROUPS:
            parts.append(f"{FEWEST_GROUPS - groups} more with {kind}s")
            total = math.ceil(counted["groups_in_manifest"] * FEWEST_GROUPS / groups) if groups else 0
            in_all += [f"about {total} groups with {kind}s"] if total else []
    if not parts:
        return ""
    whole = f", which at this split takes {' and '.join(in_all)} in all" if in_all else ""
    lacking = f"needed: at least {' and '.join(parts)} among the held-out groups{whole}"
    return f"{lacking}; with folds every row is tested, and fewer do"


def _groups_to_tell(task: Task, estimate: float | None, bounds: Any, chance: float) -> str:
    """How many groups would put the interval clear of chance, were the estimate right: widths fall as 1/sqrt(n)."""
    low = None if bounds is None else bounds[0]
    groups = min((counted["groups"] for counted in task.get("classes", {}).values()), default=0)
    if estimate is None or low is None or not groups:
        return ""
    if estimate <= chance:
        return "more rows of the same kind would hardly help: the estimate itself is no better"
    needed = math.ceil(groups * ((estimate - low) / (estimate - chance)) ** 2 - _ROUNDING)
    if needed > 1000 * groups:
        return ""
    return f"if the estimate is right, about {needed} held-out groups of the rarer class would tell; there are {groups}"


def _low(entry: Mapping[str, Any]) -> float:
    """The interval's lower end, -infinity where it is undefined."""
    bounds = entry["interval"]
    return -math.inf if bounds is None or bounds[0] is None else float(bounds[0])


def _in_words(metric: Mapping[str, Any]) -> str:
    if _low(metric) == -math.inf:
        return "undefined"
    low, high = metric["interval"]
    return f"{metric['mean']:.3f} [{low:.3f}, {high:.3f}]"


def _difference_in_words(entry: Mapping[str, Any]) -> str:
    if _low(entry) == -math.inf or entry["difference"] is None:
        return "undefined"
    low, high = entry["interval"]
    return f"{entry['difference']:+.3f} [{low:+.3f}, {high:+.3f}]"
