"""The whole model card of a small experiment, line by line: what a moderator reads before trusting a score."""

from __future__ import annotations

from typing import Any

import pytest

from contract.bundle_manifest import WeightsUsed
from contract.input_spec import BurstSpec, InputSpec, TextField
from model_export.errors import ExportError
from model_export.model_card import CardNotes, TaskNotes, render_card
from model_export.served_tasks import with_unserved
from tests.unit.model_export.conftest import Untrained
from training.fitting.checkpoint import CheckpointCard

NOTES = CardNotes(
    intended_use=" To sort a queue.\n",
    not_for=(" Live streams. ", "Speech."),
    tasks={
        "topics": TaskNotes(asks=" About what? ", data="Ten clips. ", limits=" No sport. "),
        "spam": TaskNotes(asks="Is it spam?", data="Five titles.", limits="English alone."),
    },
)
METRICS = ("f1", "miss_rate", "overkill", "pr_auc", "ece", "brier", "roc_auc")


def metric(mean: float, own: float | None) -> dict[str, Any]:
    return {"mean": mean, "interval": [mean - 0.1, mean + 0.1], "trials": [None, own]}


def report() -> dict[str, Any]:
    """Two trials of a method, its baseline and its teacher, beside a control; topics lack the teacher and a metric."""

    def task(level: float, verdict: str, *left_out: str) -> dict[str, Any]:
        levels = {"cpfd": level, "ce": level - 0.1, "teacher": level + 0.1, "container_only": level - 0.2}
        methods = {
            name: {metric_name: metric(at + k / 100, at + k / 100) for k, metric_name in enumerate(METRICS)}
            for name, at in levels.items()
        }
        compared = {"difference": 0.1, "interval": [0.05, 0.15], "p_holm": 0.02, "adjusted_verdict": verdict}
        for name in left_out:
            del methods["cpfd"][name]
        return {
            "methods": methods,
            "comparisons": {"cpfd - ce": {"f1": compared, "pr_auc": compared}},
            "rows_tested": 90,
            "groups_tested": 30,
        }

    topics = task(0.5, "not distinguishable", "brier")
    del topics["methods"]["teacher"]
    topics["comparisons"] = {}
    return {
        "manifest": {"privileged_groups": ["flow"]},
        "trials": [{"seed": 0}, {"seed": 1}],
        "methods": ["ce", "teacher", "cpfd"],
        "tasks": {"topics": topics, "spam": task(0.6, "better")},
    }


def rendered(card: CheckpointCard, document: dict[str, Any] | None = None, **more: Any) -> list[str]:
    return render_card("mine", "1.2.3", card, NOTES, document, 1, **more).split("\n")


def part(lines: list[str], title: str) -> list[str]:
    """The lines of a section, without the blank ones around them."""
    start = lines.index(f"## {title}") + 2
    end = next((n for n in range(start, len(lines)) if lines[n].startswith("## ")), len(lines))
    return lines[start : end - 1]


def test_the_head_names_model_method_and_training(untrained: Untrained) -> None:
    lines = rendered(untrained.card)
    assert lines[0] == "# mine 1.2.3"
    assert lines[2] == "What it is good for was not measured: no report was given at the export."
    assert lines[4].endswith(", architecture `xvlm-tiny`, seed 3, held-out fold 1, 48 training rows.")
    assert "CPFD" in lines[4]
    assert lines[6] == "To sort a queue."
    whole = rendered(untrained.card.model_copy(update={"test_fold": None}))
    assert whole[4] == lines[4].replace(", held-out fold 1", "")
    titles = [line for line in lines if line.startswith("## ")]
    assert titles == [
        "## What it reads",
        "## What it was trained on",
        "## What it scores on held-out rows",
        "## What it is not good for",
    ]
    assert lines[-1] == ""
    assert lines[-2] != ""


def test_what_it_reads_follows_the_input_spec_and_the_teacher(untrained: Untrained) -> None:
    fields = (TextField(name="title", max_tokens=8), TextField(name="overlay_text", max_tokens=4))
    burst = BurstSpec(moments=2, pictures=3, step_ms=80)
    for spec, sampling in (
        (InputSpec(frames=6, frame_size=32, text_fields=fields), "segment middle of each of 6 equal spans of time"),
        (
            InputSpec(frames=6, frame_size=32, sampling="bursts", burst=burst, text_fields=fields),
            "2 moments spread over the clip, 3 pictures each, 80 ms apart",
        ),
    ):
        config = untrained.card.config.model_copy(update={"input_spec": spec})
        for teacher, ending in (("b" * 64, ": the teacher alone saw them, in training."), (None, ", in training or")):
            card = untrained.card.model_copy(update={"config": config, "teacher_digest": teacher})
            (read,) = part(rendered(card), "What it reads")
            assert read.startswith(
                f"6 frames of 32x32 pixels ({sampling}), and `title` (first 8 word pieces), "
                "`overlay_text` (first 4 word pieces). "
            )
            assert f"No privileged feature is read{ending}" in read


def test_a_teacher_without_privileged_features_is_not_said_to_have_read_any(untrained: Untrained) -> None:
    card = untrained.card.model_copy(update={"teacher_digest": "b" * 64})
    for groups, ending in (([], ", and no row has any: the teacher read what"), (["flow"], ": the teacher alone saw")):
        (read,) = part(rendered(card, {**report(), "manifest": {"privileged_groups": groups}}), "What it reads")
        assert f"No privileged feature is read{ending}" in read


def test_what_it_was_trained_on_names_weights_and_each_tasks_data(untrained: Untrained) -> None:
    weights = {
        "vision": WeightsUsed(source="a paper", licence="MIT", sha256="c" * 64),
        "text": WeightsUsed(source="a book", licence="Apache-2.0", sha256=None),
    }
    assert part(rendered(untrained.card, weights=weights), "What it was trained on") == [
        f"- The vision encoder started from a paper (MIT, SHA-256 {'c' * 64}).",
        "- The text encoder started from a book (Apache-2.0, SHA-256 not known).",
        "- **topics**: About what? Ten clips.",
        "- **spam**: Is it spam? Five titles.",
    ]


def test_what_it_is_not_good_for_holds_every_point_and_every_task(untrained: Untrained) -> None:
    assert part(rendered(untrained.card), "What it is not good for") == [
        "- Live streams.",
        "- Speech.",
        "- **topics**: No sport.",
        "- **spam**: English alone.",
    ]


def test_what_it_is_good_for_is_a_line_a_task_or_why_it_is_not_served(untrained: Untrained) -> None:
    lines = rendered(untrained.card, report(), policy=with_unserved(untrained.card.policy, {"topics": "it guesses"}))
    assert lines[2:5] == [
        "- **topics: not served**, it guesses.",
        "- **spam**: PR-AUC 0.630, ROC-AUC 0.660 on held-out rows; at its threshold (max_f1) it",
        "  misses a share of 0.610, and flags 0.620 of what it should let pass.",
    ]
    assert rendered(untrained.card, report())[2].startswith("- **topics**: PR-AUC 0.530")


def test_every_figure_stands_in_its_column(untrained: Untrained) -> None:
    lines = part(rendered(untrained.card, report()), "What it scores on held-out rows")
    assert "2 trials" in lines[0]
    start = lines.index("|---|---|---|---|---|---|---|")
    assert lines[start - 1] == "| task | metric | this model | method | X-VLM baseline | teacher | controls |"
    table = [line for line in lines[start + 1 :] if line.startswith("|")]

    def value(level: float) -> str:
        return f"{level:.3f} [{level - 0.1:.3f}, {level + 0.1:.3f}]"

    expected = []
    for task, level, titles in (
        ("topics", 0.5, ("F1", "miss rate", "overkill", "PR-AUC", "ECE")),
        ("spam", 0.6, ("F1", "miss rate", "overkill", "PR-AUC", "ECE", "Brier")),
    ):
        for k, title in enumerate(titles):
            own = level + k / 100
            teacher = "-" if task == "topics" else value(own + 0.1)
            cells = [task, title, f"{own:.3f}", value(own), value(own - 0.1), teacher, f"container {value(own - 0.2)}"]
            expected.append(f"| {' | '.join(cells)} |")
    assert table == expected
    assert [line for line in lines[start + 1 :] if line.startswith("- ")] == [
        "- **topics**: 90 held-out rows in 30 groups over all trials.",
        lines[-1],
    ]
    assert lines[-1].startswith("- **spam**: 90 held-out rows in 30 groups over all trials; against the baseline, ")
    assert "F1 " in lines[-1]
    assert "PR-AUC " in lines[-1]


def test_a_model_alone_has_dashes_beside_it(untrained: Untrained) -> None:
    document = report()
    for task in document["tasks"].values():
        task["methods"] = {"cpfd": task["methods"]["cpfd"] | {"f1": metric(0.5, None)}}
    lines = part(rendered(untrained.card, document), "What it scores on held-out rows")
    assert "| spam | F1 | - | 0.500 [0.400, 0.600] | - | - | - |" in lines


def test_nothing_measured_is_said_and_gaps_in_notes_or_report_are_refused(untrained: Untrained) -> None:
    assert part(rendered(untrained.card), "What it scores on held-out rows") == ["Nothing was measured."]
    few = NOTES.model_copy(update={"tasks": {"spam": NOTES.tasks["spam"]}})
    with pytest.raises(ExportError, match=r"say nothing of topics$"):
        render_card("mine", "1.2.3", untrained.card, few, None, 0)
    document = report()
    del document["tasks"]["spam"]["methods"]["cpfd"]
    with pytest.raises(ExportError, match="the report says nothing of cpfd"):
        rendered(untrained.card, document)
