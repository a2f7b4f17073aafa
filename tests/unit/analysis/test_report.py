"""The report and its page, from made logs."""

from __future__ import annotations

import json
import re
from datetime import date
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from analysis.findings.report import build_report
from analysis.page.page import render_page
from analysis.question import Question
from analysis.simulation.made_log import EXPERIMENT, TASKS

ASK = Question(experiment=EXPERIMENT, replicates=100, min_units=100)
DAY = date(2026, 11, 25)


@pytest.fixture(scope="module")
def sound(small_log: Path) -> dict[str, Any]:
    return build_report(small_log, [], ASK)


@pytest.fixture(scope="module")
def broken(broken_log: Path) -> dict[str, Any]:
    return build_report(broken_log, [], ASK)


def test_a_sound_experiment_is_reported_whole(sound: dict[str, Any]) -> None:
    json.dumps(sound, allow_nan=False)
    assert (sound["control"], sound["treatment"]) == ("xvlm-baseline", "cpfd-student")
    assert set(sound["tasks"]) == set(TASKS)
    assert {name: task["flag_labels"] for name, task in sound["tasks"].items()} == {
        "clickbait": ["clickbait"], "violence": ["mild", "graphic"],
    }  # fmt: skip
    assert sound["guardrails"]["p50_ms"]["status"] == "held"
    assert sound["repeated_rows_dropped"]["decisions"] > 0
    for task in sound["tasks"].values():
        assert task["paired"]["pairs"] > 100
        assert task["slices"] == [] or task["slices"][0]["slice"].startswith("country = ")
        f1 = task["quality"]["metrics"]["f1"]
        assert f1["cuped"]["units"] == f1["units"]
        assert set(task["quality"]["ranked"]) == {"max_recall_at_p80", "max_recall_at_p90", "ece"}


def test_the_same_log_gives_the_same_report(small_log: Path, sound: dict[str, Any]) -> None:
    assert build_report(small_log, [], ASK) == sound


def test_swapping_the_arms_turns_every_difference(small_log: Path, sound: dict[str, Any]) -> None:
    ask = ASK.model_copy(update={"control": "cpfd-student", "treatment": "xvlm-baseline"})
    other = build_report(small_log, [], ask)
    for name, task in sound["tasks"].items():
        for metric, entry in task["quality"]["metrics"].items():
            back = other["tasks"][name]["quality"]["metrics"][metric]
            assert back["difference"] == pytest.approx(-entry["difference"], abs=1e-5)
            assert back["always_valid_p"] == pytest.approx(entry["always_valid_p"], rel=1e-3)
    ratio = sound["guardrails"]["p99_ms"]["ratio"]
    assert other["guardrails"]["p99_ms"]["ratio"] == pytest.approx(1 / ratio, rel=1e-4)


def test_a_broken_sample_ratio_hides_everything_else(broken: dict[str, Any]) -> None:
    assert broken["decision"]["status"] == "no result"
    assert not {"tasks", "guardrails"} & set(broken)
    page = render_page(broken, written_on=DAY)
    assert "No result" in page
    for metric in ("F1", "recall", "latency", "Brier"):
        assert metric not in page


def test_labels_may_come_as_a_file(small_log: Path, tmp_path: Path, sound: dict[str, Any]) -> None:
    line = {
        "time_ms": 1,
        "video_id": f"{EXPERIMENT}-video-3",
        "task": "clickbait",
        "labels": ["fine"],
        "source": "bulk",
    }
    (tmp_path / "bulk.jsonl").write_text(json.dumps(line) + "\n")
    found = build_report(small_log, [tmp_path / "bulk.jsonl"], ASK)
    gained = sum(found["label_sources"].values()) - sum(sound["label_sources"].values())
    assert gained in (0, 1)  # the video may have been labelled already, later
    only = build_report(small_log, [tmp_path / "bulk.jsonl"], ASK.model_copy(update={"sources": ("bulk",)}))
    assert only["label_sources"] == {"bulk": 1}
    assert only["decision"]["status"] == "wait"


class Page(HTMLParser):
    """Tags that could load or run something, and ids."""

    def __init__(self) -> None:
        super().__init__()
        self.loading: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value for name, value in attrs if name == "id" and value]
        if tag in ("script", "link", "img", "iframe") or any(name == "src" for name, _ in attrs):
            self.loading.append(tag)


def test_the_page_stands_alone(sound: dict[str, Any], broken: dict[str, Any]) -> None:
    for report in (sound, broken):
        text = render_page(report, written_on=DAY)
        page = Page()
        page.feed(text)
        assert page.loading == []
        assert len(page.ids) == len(set(page.ids))
        assert "http" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
        assert text == render_page(report, written_on=DAY)


def test_the_page_begins_with_the_decision_and_its_preconditions(sound: dict[str, Any]) -> None:
    text = render_page(sound, written_on=DAY)
    body = text[text.index("<body>") :]
    places = [
        body.index(part) for part in (sound["decision"]["sentence"], "sample ratio", "<figure>", "Task: clickbait")
    ]
    assert places == sorted(places)
    assert body.count('class="light ') == 5


def test_names_are_escaped(sound: dict[str, Any]) -> None:
    named = sound | {"experiment": "<script>alert(1)</script>", "control": "<b>"}
    named["tasks"] = {"<i>x</i>": sound["tasks"]["clickbait"]}
    text = render_page(named, written_on=DAY)
    assert "<script>" not in text
    assert "<i>x</i>" not in text
    assert "&lt;i&gt;x" in text
