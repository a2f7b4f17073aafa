"""The first screen says ship or not, and why, of a good, a useless and a tiny data set."""

from __future__ import annotations

import copy
import re
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests.unit.training.finished_run import SHARPNESS, FinishedRun, make_finished_run
from training.config import RunConfig
from training.report.build import build_report
from training.report.first_screen import first_screen
from training.report.markdown import render
from training.report.page import render_page

GOOD = {**SHARPNESS, "cpfd": 3.0, "ce": 1.0, "teacher": 4.0}
USELESS = dict.fromkeys(SHARPNESS, 0.0)
Made = tuple[FinishedRun, dict[str, Any]]
NO_FEATURES = "No row has privileged features: the teacher reads what the student reads."


def made(home: Path, config: RunConfig, **options: Any) -> Made:
    finished = make_finished_run(home / "runs", config, **options)
    return finished, build_report(finished.runs, finished.manifest, replicates=200)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, tiny_config: RunConfig) -> Made:
    return made(tmp_path_factory.mktemp("good"), tiny_config, sharpness=GOOD)


@pytest.fixture(scope="module")
def useless(tmp_path_factory: pytest.TempPathFactory, tiny_config: RunConfig) -> Made:
    return made(tmp_path_factory.mktemp("useless"), tiny_config, sharpness=USELESS)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tiny_config: RunConfig) -> Made:
    return made(tmp_path_factory.mktemp("tiny"), tiny_config, sharpness=GOOD, rows=27)


def page_of(one: Made) -> str:
    finished, report = one
    return render_page(report, finished.manifest, finished.runs, written_on=date(2026, 11, 25))


def screen_of(page: str) -> str:
    """What stands before the navigation, without marks."""
    return re.sub(r"<[^>]+>", " ", page[page.index("<h1>") : page.index("<nav")])


def test_a_good_student_is_shipped(good: Made) -> None:
    report = good[1]
    assert report["ship"] == {"student": "cpfd", "decision": "ship"}
    assert first_screen(report).headline == "Ship CPFD."
    assert [task.verdict for task in first_screen(report).tasks] == ["Ship", "Ship"]
    page = page_of(good)
    assert '<div class="ship go">' in page
    assert not re.search(r'class="red"', page[: page.index("<nav")])


def test_a_useless_student_is_not_and_near_chance_is_red(useless: Made) -> None:
    report = useless[1]
    assert report["ship"]["decision"] == "do_not_ship"
    screen = first_screen(report)
    assert screen.headline == "Do not ship CPFD."
    assert screen.detail == f"No task passes. {NO_FEATURES}"
    for task in screen.tasks:
        assert task.why[0].startswith("No better than chance on held-out rows: ROC-AUC 0.")
    page = page_of(useless)
    assert '<div class="ship stop">' in page
    assert len(re.findall(r'<p class="red">No better than chance', page)) == 2


def test_of_a_tiny_data_set_nothing_is_said_but_how_many_groups_would_be_needed(tiny: Made) -> None:
    report = tiny[1]
    assert report["ship"]["decision"] == "too_little_data"
    assert report["tasks"]["spam"]["classes"]["positive"] == {"rows": 4, "groups": 3, "groups_in_manifest": 3}
    screen = first_screen(report)
    assert screen.headline == "Too little data to tell whether to ship CPFD."
    why = " ".join(screen.tasks[0].why)
    assert "positives stand in 3 groups and negatives in 3" in why
    assert "needed: at least 2 more with positives and 2 more with negatives among the held-out groups" in why.lower()
    assert "takes about 5 groups with positives and about 5 groups with negatives in all" in why
    page = page_of(tiny)
    assert '<div class="ship few">' in page
    assert "better than" not in screen_of(page)


def test_the_first_screen_stands_before_anything_else(good: Made) -> None:
    page = page_of(good)
    assert page.index('id="ship"') < page.index("<nav") < page.index('id="run"')
    screen = screen_of(page)
    for words in ("chance", "free control", "container facts", "baseline", "student", "teacher"):
        assert words in screen
    for counted in good[1]["tasks"]["spam"]["classes"].values():
        assert f"in {counted['groups']} groups" in screen
    assert "50.0 % positive" in screen
    assert render(good[1]).startswith(f"**Ship CPFD.** Both tasks pass. {NO_FEATURES}\n")


def test_some_tasks_ship_without_the_others(good: Made, useless: Made) -> None:
    mixed = {**good[1], "tasks": {"spam": good[1]["tasks"]["spam"], "topics": useless[1]["tasks"]["topics"]}}
    screen = first_screen(mixed)
    assert (screen.decision, screen.headline) == ("ship", "Ship CPFD for 1 of 2 tasks: spam.")
    assert screen.detail == f"Do not ship: topics. {NO_FEATURES}"


def test_a_run_of_the_baseline_alone_judges_the_baseline(good: Made) -> None:
    alone = {**good[1], "methods": ["teacher", "ce"]}
    assert first_screen(alone).headline.startswith("Ship baseline (ce)")


def test_what_the_student_adds_to_the_baseline_is_said_and_the_baseline_adds_nothing(good: Made) -> None:
    task = first_screen(good[1]).tasks[0]
    entry = good[1]["tasks"][task.name]["comparisons"]["cpfd - ce"]["pr_auc"]
    assert task.against_baseline.startswith(f"{entry['difference']:+.3f} [{entry['interval'][0]:+.3f}, ")
    assert task.against_baseline.endswith(f", {entry['adjusted_verdict']}")
    assert f"Over the baseline, PR-AUC {task.against_baseline}." in page_of(good)
    assert first_screen({**good[1], "methods": ["teacher", "ce"]}).tasks[0].against_baseline == ""


def test_a_teacher_without_privileged_features_is_said_to_have_none(good: Made) -> None:
    named = first_screen({**good[1], "manifest": {**good[1]["manifest"], "privileged_groups": ["flow"]}})
    assert named.detail == "Both tasks pass."
    assert named.tasks[0].standings[-1].name == "privileged"
    without = first_screen(good[1])
    assert without.detail == f"Both tasks pass. {NO_FEATURES}"
    assert without.tasks[0].standings[-1].name == "reads the same"


def test_a_report_from_before_the_rule_is_judged_all_the_same(good: Made) -> None:
    tasks = {
        name: {k: v for k, v in task.items() if k not in ("classes", "ship", "threshold_by_slice")}
        for name, task in good[1]["tasks"].items()
    }
    assert first_screen({**good[1], "tasks": tasks}).headline == "Ship CPFD."


def test_a_slice_that_the_threshold_treats_worse_is_a_caution_and_a_red_word(good: Made) -> None:
    finished, report = good[0], copy.deepcopy(good[1])
    entry = report["tasks"]["spam"]["threshold_by_slice"]["cpfd"]["country"]["fr"]
    assert {"rows", "warnings", "miss_rate", "overkill"} == set(entry)
    entry["miss_rate"] |= {"verdict": "worse", "difference": 0.4}
    entry["warnings"] = ["misses 60% of positives, 20% elsewhere"]
    page = render_page(report, finished.manifest, finished.runs, written_on=date(2026, 11, 25))
    assert "country = fr: misses 60% of positives" in screen_of(page).replace("Country", "country")
    assert '<span class="bad">worse</span>' in page
    assert "`cpfd`, country = fr: misses 60% of positives" in render(report)
    assert '<span class="bad">worse</span>' not in page_of(good)
