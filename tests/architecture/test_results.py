"""The results shown are the committed documents': tables, lines, and what is said of them in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.results_page import (
    FIVE_TASKS_WITH_ENCODERS,
    PAGES,
    ROOT,
    blocks,
    filled,
    read_benchmark,
    read_report,
)
from training.report.words import verdict_on

RESULTS = " ".join((ROOT / "docs" / "results.md").read_text().split())
BLOCKS = blocks()
CROSS_FITTED = ("pfd_crossfit", "cpfd_crossfit", "self_distillation_crossfit")
Document = Mapping[str, Any]


def verdicts(document: Document, task: str, pair: str) -> set[str]:
    entries = document["tasks"][task]["comparisons"].get(pair, {})
    return {verdict_on(entry) for entry in entries.values()}


def better_than_the_baseline(document: Document) -> set[str]:
    return {
        task
        for task in document["tasks"]
        for method in document["methods"]
        if method != "teacher" and "better" in verdicts(document, task, f"{method} - ce")
    }


def beats_every_control(task: Document, method: str) -> bool:
    return all(
        verdict_on(entries["pr_auc"]) == "better"
        for pair, entries in task["comparisons"].items()
        if pair.startswith(f"{method} - ") and pair.partition(" - ")[2] in ("container_only", "background_only")
    )


def pr_auc(document: Document, method: str) -> float:
    return float(document["tasks"]["clickbait"]["methods"][method]["pr_auc"]["mean"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_the_documents(page: Path) -> None:
    assert filled(page.read_text(), BLOCKS) == page.read_text(), "stale: make docs"


def test_every_block_is_shown_somewhere() -> None:
    shown = "".join(page.read_text() for page in PAGES)
    assert [name for name in BLOCKS if f"<!-- {name} -->" not in shown] == []


def test_a_figure_changed_by_hand_is_noticed() -> None:
    page = (ROOT / "docs" / "results.md").read_text()
    table = BLOCKS["default-bundles-f1"]
    assert filled(page.replace(table, table.replace("0.", "1.", 1)), BLOCKS) == page
    assert table.replace("0.", "1.", 1) not in page


OF_THE_BUNDLES: dict[str, Callable[[Document], bool]] = {
    "on no task is CPFD distinguishably better than the baseline": lambda report: (
        not any("better" in verdicts(report, task, "cpfd - ce") for task in report["tasks"])
    ),
    "though on clickbait its teacher is": lambda report: "better" in verdicts(report, "clickbait", "teacher - ce"),
    "in PR-AUC both students are better than every control on it": lambda report: all(
        beats_every_control(report["tasks"]["violence"], method) for method in ("ce", "cpfd")
    ),
    "0.93 is not distinguishably more": lambda report: (
        not beats_every_control(report["tasks"]["restricted_object"], "cpfd")
        and round(report["tasks"]["restricted_object"]["methods"]["cpfd"]["pr_auc"]["mean"], 2) == 0.93
    ),
    "from chance to PR-AUC 0.88": lambda report: (
        round(report["tasks"]["violence"]["methods"]["cpfd"]["pr_auc"]["mean"], 2) == 0.88
    ),
}
OF_FIVE_TASKS: dict[str, Callable[[Document], bool]] = {
    "on no task but clickbait is a student distinguishably better than the baseline": lambda document: (
        better_than_the_baseline(document) == {"clickbait"}
    ),
    "cross-fitted students are better than the baseline, PFD and CPFD": lambda document: all(
        "better" in verdicts(document, "clickbait", f"{one} - {other}")
        for one in CROSS_FITTED
        for other in ("ce", "pfd", "cpfd")
    ),
    "is not distinguishable from `pfd_crossfit`": lambda document: (
        verdicts(document, "clickbait", "pfd_crossfit - self_distillation_crossfit") == {"not distinguishable"}
    ),
    "students with weights come out no higher than `pfd_crossfit`": lambda document: (
        pr_auc(document, "cpfd_crossfit") <= pr_auc(document, "pfd_crossfit")
    ),
}


OF_THE_ENCODERS: dict[str, Callable[[Document], bool]] = {
    "The teacher is better than the baseline, so there is a gap to close": lambda document: all(
        verdict_on(entry) == "better" for entry in document["mean_over_tasks"]["comparisons"]["teacher - ce"].values()
    ),
    "CPFD and PFD are not distinguishable from the baseline on any mean, nor from each other": lambda document: all(
        verdict_on(entry) == "not distinguishable"
        for pair in ("cpfd - ce", "pfd - ce", "cpfd - pfd")
        for entry in document["mean_over_tasks"]["comparisons"][pair].values()
    ),
    "those over X-VLM and on the gap are excluded, that over PFD cannot be decided": lambda document: (
        {name: claim["verdict"] for name, claim in document["claims"].items()}
        == {"gain over X-VLM": "refuted", "gap closed": "refuted", "gain over PFD": "cannot be decided on these data"}
    ),
    "In PR-AUC both are worse than the baseline on the two title tasks": lambda document: all(
        verdict_on(document["tasks"][task]["comparisons"][f"{method} - ce"]["pr_auc"]) == "worse"
        for task in ("clickbait", "news_politics")
        for method in ("cpfd", "pfd")
    ),
}


@pytest.mark.parametrize("sentence", OF_THE_BUNDLES)
def test_what_is_said_of_the_bundles_is_so(sentence: str) -> None:
    assert sentence in RESULTS
    assert OF_THE_BUNDLES[sentence](read_report())


@pytest.mark.parametrize("sentence", OF_FIVE_TASKS)
def test_what_is_said_of_the_five_tasks_is_so(sentence: str) -> None:
    assert sentence in RESULTS
    assert OF_FIVE_TASKS[sentence](read_benchmark())


@pytest.mark.parametrize("sentence", OF_THE_ENCODERS)
def test_what_is_said_of_good_students_is_so(sentence: str) -> None:
    assert sentence in RESULTS
    assert OF_THE_ENCODERS[sentence](read_benchmark(FIVE_TASKS_WITH_ENCODERS))


def test_the_committed_bundles_are_of_the_committed_report() -> None:
    report = read_report()
    for name, method in (("xvlm-baseline", "ce"), ("cpfd-student", "cpfd")):
        manifest = json.loads((ROOT / "bundles" / name / "bundle.json").read_text())
        provenance = manifest["provenance"]
        assert provenance["manifest_digest"] == report["manifest"]["digest"]
        assert provenance["config_digest"] == report["config_digest"]
        assert provenance["every_fold_seen"]
        for task, metrics in provenance["metrics"].items():
            means = {metric: one["mean"] for metric, one in report["tasks"][task]["final"][method].items()}
            assert metrics == {metric: value for metric, value in means.items() if value is not None}
