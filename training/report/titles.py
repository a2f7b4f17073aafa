"""What methods, controls and metrics are called in a report."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from training.evaluation.comparisons import BASELINE, RIVAL, SUBJECT, TAMPERED, TEACHER

TITLES: Final = {
    TEACHER: "DF-X-VLM teacher (reads what privileged features there are)",
    BASELINE: "X-VLM baseline",
    "pfd": "PFD student",
    "cpfd": "CPFD student",
    "container_only": "control: container facts alone",
    "background_only": "control: background alone",
    "tfidf_logistic": "control: tf-idf of the text, logistic regression",
    "clip_half_only": "control: the baseline's head for the clip's half alone",
    "title_half_only": "control: the baseline's head for the title's half alone",
}
_LONG_TITLES: Final = {
    "kd": "Vanilla distillation: the teacher has no privileged features",
    "self_distillation": "Self-distillation: a teacher like the student",
    "self_distillation_crossfit": "Self-distillation, teachers that did not see the row",
    "gend": "Generalized distillation: the teacher reads privileged features alone",
    "mtl": "Multi-task: predicts the privileged features",
    "pfd_joint": "PFD, the teacher trained beside it",
    "pfd_crossfit": "PFD, teachers that did not see the row",
    "cpfd_crossfit": "CPFD, teachers that did not see the row",
    "cpfd_balanced": "CPFD cross-fitted, equal mean weight in each class",
    "cpfd_adaptive": "CPFD cross-fitted, lambda by what the teacher explains",
    "cpfd_preview": "CPFD cross-fitted, with PCKD's preview",
    "cpfd_norm": "CPFD, mean weight 1 in each batch",
    "cpfd_mix": "CPFD, confidence as each row's lambda",
    "pckd_preview": "PCKD's preview weights",
    "pckd": "PCKD: preview weights, features, classifiers",
    "wsld": "Weighted soft labels (WSLD)",
    "ea_kd": "Entropy-adaptive distillation (EA-KD)",
    "tpd": "Teacher-privileged distillation (TPD)",
    "cckd": "CCKD: label or teacher, by confidence",
    "cwtm": "Labels weighted by the teacher's maximum",
    "cwtc": "Labels weighted by the teacher's true class",
    "cpfd_constant": "CPFD, every weight the batch's mean",
    "cpfd_shuffled": "CPFD, weights dealt to other rows",
    "cpfd_inverted": "CPFD, weights in reverse order",
}
"""Of methods that Markdown calls by the name under which they were trained."""
SHORT: Final = {TEACHER: "teacher", BASELINE: "baseline (ce)", "pfd": "PFD", "cpfd": "CPFD"}
METRIC_TITLES: Final = {
    "f1": "F1",
    "pr_auc": "PR-AUC",
    "roc_auc": "ROC-AUC",
    "max_f1": "max F1",
    "ece": "ECE",
    "brier": "Brier",
    "vv_leakage": "view leakage",
}


def subject_among(methods: Iterable[str]) -> str | None:
    """The student that is judged: CPFD, else PFD, else the last one that is not the baseline."""
    students = [m for m in methods if m not in (TEACHER, BASELINE, *TAMPERED)]
    return next((m for m in (SUBJECT, RIVAL) if m in students), students[-1] if students else None)


def metric_title(metric: str) -> str:
    return METRIC_TITLES.get(metric, metric.replace("_", " "))


def short(method: str) -> str:
    """The method's name for a legend."""
    return SHORT.get(method, method)


def full(method: str) -> str:
    """The method's name for a table: with what it is, where that is known."""
    return TITLES.get(method, _LONG_TITLES.get(method, method)).removeprefix("control: ")
