"""MODEL_CARD.md: what the model was trained on, what it scores on rows it never saw, what it is not good for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from contract.bundle_manifest import WeightsUsed
from contract.decision import DecisionPolicy
from contract.frozen import FrozenDocument
from contract.input_spec import InputSpec
from model_export.errors import ExportError, lines_of
from training.data.own.card_words import UNWRITTEN
from training.evaluation.shipping import at_thresholds
from training.fitting.checkpoint import CheckpointCard
from training.report.markdown import cell, short_control
from training.report.titles import full
from training.report.words import number, verdict_on, withheld_words

_METRICS = {
    "f1": "F1",
    "miss_rate": "miss rate",
    "overkill": "overkill",
    "pr_auc": "PR-AUC",
    "ece": "ECE",
    "brier": "Brier",
}


class TaskNotes(FrozenDocument):
    """What people should know of one task."""

    asks: str
    data: str
    limits: str


class CardNotes(FrozenDocument):
    """The words of a model card that no artefact knows."""

    intended_use: str
    not_for: tuple[str, ...] = Field(min_length=1)
    tasks: dict[str, TaskNotes]

    @property
    def unwritten(self) -> tuple[str, ...]:
        """Which of them still say so: the words that ``from-csv`` begins with."""
        named = {"intended_use": self.intended_use, "not_for": " ".join(self.not_for)}
        for task, notes in self.tasks.items():
            named |= {f"tasks.{task}.{field}": words for field, words in notes.model_dump().items()}
        return tuple(name for name, words in named.items() if UNWRITTEN in words)


def read_notes(path: Path) -> CardNotes:
    """The notes in a YAML file.

    Raises:
        ExportError: it cannot be read; the message names the file.
    """
    try:
        return CardNotes.model_validate(yaml.safe_load(path.read_text()))
    except OSError as error:
        raise ExportError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ExportError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except (ValidationError, UnicodeDecodeError) as error:
        raise ExportError(lines_of(path, error)) from error


def render_card(
    name: str,
    version: str,
    card: CheckpointCard,
    notes: CardNotes,
    report: Mapping[str, Any] | None,
    trial: int | None,
    policy: DecisionPolicy | None = None,
    weights: Mapping[str, WeightsUsed] | None = None,
) -> str:
    """The card as Markdown.

    Args:
        name, version: of the bundle.
        card: of the checkpoint.
        notes: for every task of the checkpoint.
        report: of the experiment the checkpoint is part of; None says in the card that nothing was measured.
        trial: the checkpoint's place among the report's trials; None of one that is final, trained on every fold.
        policy: that is served; by default the checkpoint's own.
        weights: encoder -> whose weights it started from.

    Raises:
        ExportError: the notes lack a task, or the report the checkpoint's method.
    """
    lacking = [task.name for task in card.tasks if task.name not in notes.tasks]
    if lacking:
        raise ExportError(f"the model card's notes say nothing of {', '.join(lacking)}")
    spec = card.config.input_spec
    lines = [
        f"# {name} {version}",
        "",
        *_good_for(card, report, policy or card.policy, trial),
        "",
        f"{full(card.method)}, architecture `{card.config.model.name}`, seed {card.seed}"
        + (", every fold" if report is not None and trial is None else "")
        + ("" if card.test_fold is None else f", held-out fold {card.test_fold}")
        + f", {card.train_rows} training rows.",
        "",
        notes.intended_use.strip(),
        "",
        "## What it reads",
        "",
        f"{spec.frames} frames of {spec.frame_size}x{spec.frame_size} pixels ({_sampling(spec)}), and "
        + ", ".join(f"`{f.name}` (first {f.max_tokens} word pieces)" for f in spec.text_fields)
        + ". Either video or text may be missing. No privileged feature is read"
        + _when_privileged(card, report),
        "",
        "## What it was trained on",
        "",
        *(
            f"- The {encoder} encoder started from {one.source} ({one.licence}, SHA-256 {one.sha256 or 'not known'})."
            for encoder, one in (weights or {}).items()
        ),
        *(
            f"- **{task.name}**: {notes.tasks[task.name].asks.strip()} {notes.tasks[task.name].data.strip()}"
            for task in card.tasks
        ),
        "",
        "## What it scores on held-out rows",
        "",
        *(_scores(card, report, trial) if report is not None else ["Nothing was measured."]),
        "",
        "## What it is not good for",
        "",
        *(f"- {point.strip()}" for point in notes.not_for),
        *(f"- **{task.name}**: {notes.tasks[task.name].limits.strip()}" for task in card.tasks),
        "",
    ]
    return "\n".join(lines)


def _when_privileged(card: CheckpointCard, report: Mapping[str, Any] | None) -> str:
    """How the sentence on privileged features ends."""
    if not card.teacher_digest:
        return ", in training or after it."
    if report is not None and report["manifest"].get("privileged_groups") == []:
        return ", and no row has any: the teacher read what the student reads."
    return ": the teacher alone saw them, in training."


def _good_for(
    card: CheckpointCard, report: Mapping[str, Any] | None, policy: DecisionPolicy, trial: int | None
) -> list[str]:
    """One line for each task: what can be expected of it, or why it is not served."""
    if report is None:
        return ["What it is good for was not measured: no report was given at the export."]
    lines = []
    for task in card.tasks:
        served = policy.tasks[task.name]
        if served.unserved is not None:
            lines.append(f"- **{task.name}: not served**, {served.unserved}.")
            continue
        if card.method not in report["tasks"][task.name]["methods"]:
            continue
        own = at_thresholds(report["tasks"][task.name], card.method, final=trial is None)
        missed, flagged, pr_auc, roc_auc = (
            number(own[metric]["mean"]) for metric in ("miss_rate", "overkill", "pr_auc", "roc_auc")
        )
        point = served.point
        lines += [
            f"- **{task.name}**: PR-AUC {pr_auc}, ROC-AUC {roc_auc} on held-out rows; at its threshold ({point}) it",
            f"  misses a share of {missed}, and flags {flagged} of what it should let pass.",
        ]
    return lines


def _sampling(spec: InputSpec) -> str:
    if spec.burst is None:
        return f"{spec.sampling.replace('_', ' ')} of each of {spec.frames} equal spans of time"
    return (
        f"{spec.burst.moments} moments spread over the clip, {spec.burst.pictures} pictures each, "
        f"{spec.burst.step_ms:g} ms apart"
    )


def _scores(card: CheckpointCard, report: Mapping[str, Any], trial: int | None) -> list[str]:
    whose, own_title = "*This model*: this very checkpoint on its own held-out rows.", " this model |"
    fitted = "validation rows"
    if trial is None:
        whose = (
            "This very model has seen the rows of every fold. The figures are of students that its recipe made of the "
            "other folds, on the one left out, at this model's temperatures and thresholds."
        )
        own_title, fitted = "", "what the students of other trials said of these rows, when they were validation rows"
    lines = [
        f"{whose} *Method*: mean over "
        f"{len(report['trials'])} trials (seed and fold each), with the 95 % interval of a bootstrap over groups. The "
        f"threshold was fitted on {fitted}; at it, *miss rate* is the share of positives not flagged, *overkill* "
        "that of negatives flagged: 1 means that everything is. ECE's "
        "interval may lie above its estimate: leaving groups out adds",
        "miscalibration of its own. Where ECE is high, read a score as an order, not as a probability.",
        "",
        f"| task | metric |{own_title} method | X-VLM baseline | teacher | controls |",
        "|---" * (6 if trial is None else 7) + "|",
    ]
    for task in card.tasks:
        methods = report["tasks"][task.name]["methods"]
        if card.method not in methods:
            raise ExportError(f"the report says nothing of {card.method}: write it anew (`python -m training report`)")
        served = at_thresholds(report["tasks"][task.name], card.method, final=trial is None)
        controls = {name: metrics for name, metrics in methods.items() if name not in report["methods"]}
        for metric, title in _METRICS.items():
            own = served.get(metric)
            if own is None:
                continue  # a report from before it was measured
            beside = "; ".join(f"{short_control(c)} {cell(v.get(metric))}" for c, v in controls.items()) or "-"
            cells = [task.name, title]
            if trial is not None:
                this = own["trials"][trial]
                cells.append("-" if this is None else f"{this:.3f}")
            cells.append(cell(own))
            cells += [cell(methods.get(other, {}).get(metric)) for other in ("ce", "teacher")]
            cells.append(beside)
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", *(line for task in card.tasks for line in _in_words(task.name, card.method, report))]
    return lines


def _in_words(task: str, method: str, report: Mapping[str, Any]) -> list[str]:
    """The number of rows behind the figures, and the paired comparison with the baseline in words."""
    task_report = report["tasks"][task]
    rows, groups = task_report["rows_tested"], task_report["groups_tested"]
    tested = f"- **{task}**: {rows} held-out rows in {groups} groups over all trials"
    compared = task_report["comparisons"].get(f"{method} - ce")
    if why := withheld_words(task_report):
        return [f"{tested}. {why}"]
    if compared is None:
        return [tested + "."]
    words = ", ".join(f"{_METRICS[metric]} {verdict_on(value)}" for metric, value in compared.items())
    return [f"{tested}; against the baseline, paired, adjusted for the number of comparisons: {words}."]
