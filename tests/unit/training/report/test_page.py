"""The page holds what the report holds, loads nothing, and is the same for the same run."""

from __future__ import annotations

import copy
import re
import shutil
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.unit.training.finished_run import HOSTILE, METHODS, FinishedRun, make_finished_run
from training.config import RunConfig
from training.report.build import build_report
from training.report.page import render_page
from training.report.titles import short
from training.report.words import number, overall, task_verdict

DAY = date(2026, 11, 21)
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Elements(HTMLParser):
    """Every element with its attributes; fails on a tag that is not closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_config: RunConfig) -> FinishedRun:
    return make_finished_run(tmp_path_factory.mktemp("page") / "runs", tiny_config)


@pytest.fixture(scope="module")
def report(finished: FinishedRun) -> dict[str, Any]:
    return build_report(finished.runs, finished.manifest, replicates=100)


@pytest.fixture(scope="module")
def page(finished: FinishedRun, report: dict[str, Any]) -> str:
    return render_page(report, finished.manifest, finished.runs, written_on=DAY)


def elements(page: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = Elements()
    parser.feed(page)
    assert not parser.open
    return parser.found


def test_every_section_task_and_method_is_there(page: str, report: dict[str, Any]) -> None:
    ids = [attributes["id"] for tag, attributes in elements(page) if tag == "section"]
    assert ids == ["ship", "run", "summary", "task0", "task1", "learning", "reading"]
    for task in report["tasks"]:
        assert f"Task: {task}" in page
    summary = page[page.index('id="summary"') : page.index('id="task0"')]
    learning = page[page.index('id="learning"') : page.index('id="reading"')]
    for method in ("teacher", *METHODS):
        assert re.search(rf">{method}<", summary)
        assert f"<figcaption>{short(method)}</figcaption>" in learning
    assert ">container_only<" in summary
    for text in (report["manifest"]["digest"], report["config_digest"], "2026-11-21", "seed 0, seed 1"):
        assert text in page
    titles = ("Precision over recall", "Reliability", "What the teacher is sure of", "What each method adds")
    for title in titles:
        assert page.count(f"<figcaption>{title}") == 2


def test_nothing_is_loaded_from_elsewhere(page: str) -> None:
    for tag, attributes in elements(page):
        assert tag not in ("script", "link", "img", "iframe", "object", "image")
        for name, value in attributes.items():
            assert name not in ("src", "srcset", "action", "data", "style") or "url(" not in (value or "")
            assert name != "src"
            if name in ("href", "xlink:href"):
                assert (value or "").startswith("#")
    assert not re.search(r"https?://|@import|url\((?!#)", page)


def test_figures_are_named_and_their_references_resolve(page: str) -> None:
    found = elements(page)
    figures = [a for tag, a in found if tag == "svg" and a.get("role") == "img"]
    assert len(figures) == 2 * 4 + 1 + len(METHODS)
    assert all(a["aria-label"] for a in figures)
    ids = [a["id"] for _, a in found if "id" in a]
    assert len(ids) == len(set(ids))
    used = re.findall(r"url\(#([^)]+)\)", page) + [str(a["href"])[1:] for _, a in found if "href" in a]
    assert used
    assert set(used) <= set(ids)


def test_the_numbers_are_the_report_s(page: str, report: dict[str, Any]) -> None:
    summary = page[page.index('id="summary"') : page.index('id="task0"')]
    for task in report["tasks"].values():
        for values in task["methods"].values():
            for metric in ("f1", "pr_auc"):
                low, high = values[metric]["interval"]
                shown = f"{number(values[metric]['mean'])}<small>[{number(low)}, {number(high)}]</small>"
                assert shown in summary
            for value in values.values():
                assert number(value["mean"]) in page
        for pair in task["comparisons"].values():
            for entry in pair.values():
                assert number(entry["difference"], signed=True) in page
        for values in task["slices"]["country"].values():
            assert f"{values['rows']} rows" in page
            assert number(values["cpfd"]["pr_auc"]["mean"]) in page


def test_the_same_run_gives_the_same_bytes(finished: FinishedRun, report: dict[str, Any], page: str) -> None:
    assert render_page(report, finished.manifest, finished.runs, written_on=DAY) == page


def test_hostile_names_are_escaped(tmp_path: Path, tiny_config: RunConfig) -> None:
    finished = make_finished_run(tmp_path / "runs", tiny_config, hostile=True)
    report = build_report(finished.runs, finished.manifest, replicates=100)
    page = render_page(report, finished.manifest, finished.runs, written_on=DAY)
    assert HOSTILE not in page
    assert "&lt;img src=x onerror=" in page
    assert not [tag for tag, _ in elements(page) if tag == "img"]


def test_what_may_be_missing_is_left_out(tmp_path: Path, tiny_config: RunConfig) -> None:
    finished = make_finished_run(tmp_path / "runs", tiny_config, slices=False)
    report = build_report(finished.runs, finished.manifest, replicates=100)
    for trial in finished.plan.trials:
        shutil.rmtree(finished.runs / trial.name / "controls")
        shutil.rmtree(finished.runs / trial.name / "soft_targets")
        shutil.rmtree(finished.runs / trial.name / "kd")
    page = render_page(report, finished.manifest, finished.runs, written_on=DAY)
    assert "Without a curve, because not every trial has its scores: kd, container_only." in page
    assert "By slice" not in page
    assert "teacher saw them" not in page
    assert "held-out rows: mean" in page


def test_a_fuller_report_is_shown_too(finished: FinishedRun, report: dict[str, Any]) -> None:
    """More metrics, comparisons of every method, adjusted verdicts, undefined values, a mean over tasks."""
    fuller = copy.deepcopy(report)
    for task in fuller["tasks"].values():
        for values in task["methods"].values():
            values["recall_at_p80"] = {"mean": None, "interval": [None, None], "trials": [None]}
        entry = {"difference": 0.123, "interval": [0.1, 0.2], "verdict": "better", "adjusted_verdict": "worse"}
        task["comparisons"]["kd - ce"] = {"f1": entry, "pr_auc": entry | {"difference": None, "interval": [None, None]}}
    methods = {method: dict(fuller["tasks"]["spam"]["methods"][method]) for method in report["methods"]}
    fuller["mean_over_tasks"] = {"methods": methods}
    page = render_page(fuller, finished.manifest, finished.runs, written_on=DAY)
    assert "recall at p80" in page
    assert ">mean over tasks<" in page
    assert 'title="worse than the baseline"' in page
    assert "adjusted for the number of comparisons" in page
    assert "kd +0.123, worse" in page


def test_words_follow_the_verdicts(report: dict[str, Any]) -> None:
    task = copy.deepcopy(report["tasks"]["spam"])
    pair = task["comparisons"]["cpfd - ce"]
    expected = {
        ("better", "better"): "better",
        ("better", "not distinguishable"): "better",
        ("better", "worse"): "mixed",
        ("worse", "not distinguishable"): "worse",
        ("not distinguishable", "not distinguishable"): "none",
    }
    for (f1, pr_auc), status in expected.items():
        for metric, verdict in (("f1", f1), ("pr_auc", pr_auc)):
            pair[metric] = {"difference": 0.1, "interval": [0, 0.2], "verdict": verdict}
        found = task_verdict(task, "cpfd", report["methods"])
        assert found.status == status
        assert "on 1 (spam)" in overall(report, {"spam": found})
    assert found.headline == "CPFD against the baseline: no difference shown in F1 and PR-AUC."


def test_a_student_is_said_to_be_unclear_of_a_control_that_stands_as_high(report: dict[str, Any]) -> None:
    task = copy.deepcopy(report["tasks"]["spam"])
    task["methods"]["cpfd"]["pr_auc"] = {"mean": 0.7, "interval": [0.6, 0.8]}
    for control, clear in ((0.65, False), (0.5, True)):
        task["methods"]["container_only"]["pr_auc"] = {"mean": control, "interval": [0.4, 0.7]}
        task["comparisons"].pop("cpfd - container_only", None)
        last = task_verdict(task, "cpfd", report["methods"]).sentences[-1]
        assert ("not clear of it" in last) is not clear
