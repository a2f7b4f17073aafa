"""How well each privileged feature alone predicts a task's flag: a perfect predictor may be the label itself.

A teacher that reads such a feature can teach nothing beyond the label. HA-PFD (method.md 2.3) drops the most
predictive features for that reason. Only training rows are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_selection import mutual_info_classif
from sklearn.metrics import mutual_info_score, roc_auc_score

from contract.decision import TaskKind, TaskSpec
from contract.frozen import FrozenDocument
from training.data.manifest import Manifest, PrivilegedGroup, Row
from training.data.privileged import raw_values
from training.data.targets import flag_targets, task_targets

SUSPICIOUS_AUC = 0.98
PRESENCE = "(present)"
"""Stands for a group's presence as a feature: that a row was measured at all can give its label away."""
_MIN_ROWS = 10
_MIN_PER_CLASS = 3
_MAX_DISCRETE = 16
"""A feature of this many different values or fewer is counted, not estimated from neighbours."""


class FeatureLeakage(FrozenDocument):
    """One feature against one flag."""

    group: str
    feature: str
    auc: float
    """max(AUC, 1 - AUC) of the feature alone, in [0.5, 1]."""
    mutual_information: float
    """With the flag, in nats, from 0 to the flag's entropy: an estimate, held to what it can be."""
    rows: int
    """Labelled training rows that have the feature."""
    positives: int
    suspicious: bool
    """Over the threshold: it may be the label itself."""


class FlagLeakage(FrozenDocument):
    """One flag: of a task, or of one label of a multilabel task."""

    task: str
    label: str | None = None
    features: tuple[FeatureLeakage, ...]
    """The most telling first."""
    not_measured: tuple[str, ...]
    """``group.feature`` with too few rows, or rows of one class only."""


class LeakageReport(FrozenDocument):
    """Every privileged feature against every flag."""

    manifest_digest: str
    test_fold: int | None
    threshold: float
    flags: tuple[FlagLeakage, ...]


def leakage_report(
    manifest: Manifest, test_fold: int | None = None, *, threshold: float = SUSPICIOUS_AUC
) -> LeakageReport:
    """Ranks the features on the rows that a trial with this test fold would train on.

    Raises:
        ValueError: ``test_fold`` does not fit the manifest, or a privileged value is not finite.
    """
    rows = manifest.split_rows(test_fold)["train"]
    columns = dict(_columns(rows, manifest.privileged_groups))
    flags: list[FlagLeakage] = []
    for task in manifest.tasks:
        for label, labelled_N, flag_N in _flags(rows, task):
            measured: list[FeatureLeakage] = []
            absent: list[str] = []
            for (group, feature), column_N in columns.items():
                one = _measure(group, feature, column_N[labelled_N], flag_N, threshold)
                if one is None:
                    absent.append(f"{group}.{feature}")
                else:
                    measured.append(one)
            measured.sort(key=lambda one: (-one.auc, -one.mutual_information, one.group, one.feature))
            flags.append(FlagLeakage(task=task.name, label=label, features=tuple(measured), not_measured=tuple(absent)))
    return LeakageReport(
        manifest_digest=manifest.digest(), test_fold=test_fold, threshold=threshold, flags=tuple(flags)
    )


def most_telling(report: LeakageReport, top: int) -> tuple[tuple[str, str], ...]:
    """(group, feature) of the ``top`` first features of every flag, each once; presence is not a feature."""
    ranked: dict[tuple[str, str], None] = {}
    for flag in report.flags:
        features = [one for one in flag.features if one.feature != PRESENCE]
        ranked |= dict.fromkeys((one.group, one.feature) for one in features[:top])
    return tuple(ranked)


def drop_features(manifest: Manifest, dropped: Sequence[tuple[str, str]]) -> Manifest:
    """The manifest without those (group, feature) pairs; a group that has none left goes too."""
    gone = set(dropped)
    kept = _without(manifest.privileged_groups, gone)
    left = {group.name for group in kept}
    known = {group.name for group in manifest.privileged_groups}
    rows = tuple(
        row.model_copy(
            update={
                "privileged": {
                    group: {f: value for f, value in values.items() if (group, f) not in gone}
                    for group, values in row.privileged.items()
                    if group not in known or group in left
                }
            }
        )
        for row in manifest.rows
    )
    return manifest.model_copy(update={"privileged_groups": kept, "rows": rows})


def groups_without_top(manifest: Manifest, test_fold: int | None, top: int) -> tuple[PrivilegedGroup, ...]:
    """The privileged groups less the ``top`` features that tell each flag best alone, on the trial's training rows.

    As HA-PFD does against a teacher that cheats (method.md 2.3). A group's presence is no feature, and stays.

    Raises:
        ValueError: no feature is left.
    """
    if top == 0:
        return manifest.privileged_groups
    kept = _without(manifest.privileged_groups, set(most_telling(leakage_report(manifest, test_fold), top)))
    if not kept:
        raise ValueError(f"without the {top} most telling features of each flag no privileged feature is left")
    return kept


def _without(groups: Sequence[PrivilegedGroup], gone: set[tuple[str, str]]) -> tuple[PrivilegedGroup, ...]:
    left = {group.name: tuple(f for f in group.features if (group.name, f) not in gone) for group in groups}
    return tuple(PrivilegedGroup(name=name, features=features) for name, features in left.items() if features)


def render(report: LeakageReport, top: int = 5) -> str:
    """A table in Markdown: the ``top`` first features of each flag."""
    lines = ["| task | feature | AUC | MI (nats) | rows | positives | |", "|---|---|---|---|---|---|---|"]
    for flag in report.flags:
        name = flag.task if flag.label is None else f"{flag.task}: {flag.label}"
        lines += [
            f"| {name} | {one.group}.{one.feature} | {one.auc:.3f} | {one.mutual_information:.3f} | {one.rows} "
            f"| {one.positives} | {'may be the label itself' if one.suspicious else ''} |"
            for one in flag.features[:top]
        ]
    return "\n".join(lines) + "\n"


def warnings(report: LeakageReport) -> list[str]:
    """One sentence for every suspicious feature."""
    return [
        f"{flag.task}{'' if flag.label is None else '.' + flag.label}: {one.group}.{one.feature} alone has an AUC of "
        f"{one.auc:.3f} on {one.rows} training rows: it may be the label itself"
        for flag in report.flags
        for one in flag.features
        if one.suspicious
    ]


def _columns(
    rows: Sequence[Row], groups: Sequence[PrivilegedGroup]
) -> Iterator[tuple[tuple[str, str], NDArray[np.float64]]]:
    """(group, feature) and its (N,) values, NaN where absent; then the group's presence."""
    for group in groups:
        raw_NF = raw_values(rows, group.name, group.features)
        for f, feature in enumerate(group.features):
            yield (group.name, feature), raw_NF[:, f]
        yield (group.name, PRESENCE), np.asarray((~np.isnan(raw_NF)).any(axis=1), np.float64)


def _flags(rows: Sequence[Row], task: TaskSpec) -> Iterator[tuple[str | None, NDArray[np.bool_], NDArray[np.bool_]]]:
    """(label or None, (N,) labelled, (n,) flag of the labelled rows)."""
    targets = task_targets(rows, task)
    flag = flag_targets(targets)
    if task.kind is not TaskKind.MULTILABEL:
        yield None, targets.labelled, flag
        return
    for label in task.flagged_by:
        yield label, targets.labelled, flag[:, task.labels.index(label)]


def _measure(
    group: str, feature: str, column_n: NDArray[np.float64], flag_n: NDArray[np.bool_], threshold: float
) -> FeatureLeakage | None:
    """None where there is nothing to measure: few rows, few of one class, a constant feature."""
    present_n = ~np.isnan(column_n)
    values, flag = column_n[present_n], flag_n[present_n]
    positives = int(flag.sum())
    if len(values) < _MIN_ROWS or min(positives, len(values) - positives) < _MIN_PER_CLASS:
        return None
    distinct = np.unique(values)
    if len(distinct) < 2:
        return None
    auc = float(roc_auc_score(flag, values))
    auc = max(auc, 1.0 - auc)
    information: Any
    if len(distinct) <= _MAX_DISCRETE:
        information = mutual_info_score(flag, np.searchsorted(distinct, values))
    else:
        information = mutual_info_classif(values[:, None], flag, discrete_features=False, random_state=0)[0]
    return FeatureLeakage(
        group=group,
        feature=feature,
        auc=auc,
        mutual_information=float(np.clip(information, 0.0, mutual_info_score(flag, flag))),
        rows=len(values),
        positives=positives,
        suspicious=auc > threshold,
    )
