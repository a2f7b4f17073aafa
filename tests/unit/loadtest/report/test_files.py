"""results.json, junit.xml and the page."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from loadtest.measurement.samples import Record, Sample
from loadtest.objectives import Objectives
from loadtest.report.files import JUNIT, REPORT, RESULTS, write_results
from loadtest.shapes import SHAPES, Plan, Stage, make_plan
from loadtest.verdict.results import make_results
from tests.unit.loadtest.made_records import STEPS, make_record
from tests.unit.loadtest.synthetic_queues import deterministic, record_of

ASKED = Objectives.model_validate({"limits": {"p95_ms": 100}, "arms": {"student": {"p95_ms": 50}}})
VOID = {"meta"}


class Balanced(HTMLParser):
    """Fails on tags that are not closed, and collects what would be fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.fetched += [f"{tag} {name}" for name, _ in attrs if name in ("src", "href", "srcset", "data")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Opens and closes by itself."""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def slow(sample: Sample) -> Sample:
    return replace(sample, latency_s=0.5) if sample.arm == "student" else sample


def test_the_files_say_the_same(tmp_path: Path) -> None:
    write_results(make_results(STEPS, ASKED, make_record(STEPS, slow), {"hosts": "<here>"}), tmp_path)
    document = json.loads((tmp_path / RESULTS).read_text())
    assert (document["outcome"], document["exit_code"]) == ("failed", 1)
    named = {(check["scope"], check["name"]) for check in document["checks"] if not check["passed"]}
    assert ("arm student", "p95_ms") in named
    suite = ElementTree.parse(tmp_path / JUNIT).getroot()[0]
    assert (int(suite.get("tests", 0)), int(suite.get("failures", 0))) == (len(document["checks"]), len(named))
    cases = {(c.get("classname"), c.get("name")) for c in suite if c.find("failure") is not None}
    assert ("arm.student", "p95_ms") in cases
    page = (tmp_path / REPORT).read_text()
    assert "arm student: p95_ms is 500, asked: at most 50" in page
    assert "&lt;here&gt;" in page


def test_an_inconclusive_failure_is_an_error_in_junit(tmp_path: Path) -> None:
    record = make_record(STEPS, lambda s: replace(s, latency_s=0.4, late_s=0.4), lag_s=0.4)
    write_results(make_results(STEPS, ASKED, record, {}), tmp_path)
    suite = ElementTree.parse(tmp_path / JUNIT).getroot()[0]
    assert (suite.get("failures"), suite.get("errors") != "0") == ("0", True)
    assert json.loads((tmp_path / RESULTS).read_text())["exit_code"] == 3


def test_what_is_not_decided_is_told_in_every_file(tmp_path: Path) -> None:
    plan = Plan("steps", (Stage(6, 29, 0.5), Stage(6, 58, 1.0)))
    asked = Objectives.model_validate({"limits": {"error_rate": 0}, "min_capacity_per_s": 50})
    write_results(make_results(plan, asked, record_of(plan, deterministic(1 / 51), seed=3), {}), tmp_path)
    document = json.loads((tmp_path / RESULTS).read_text())
    assert (document["exit_code"], document["capacity_per_s"], document["capacity_undecided_per_s"]) == (3, 29, [58])
    assert [stage["queue"]["state"] for stage in document["stages"]] == ["stationary", "undecided"]
    assert "asked: at least 50; not decided" in (tmp_path / JUNIT).read_text()
    page = (tmp_path / REPORT).read_text()
    assert "whether the capacity is enough is not decided" in page
    assert "<td>undecided</td>" in page


@pytest.mark.parametrize("shape", SHAPES)
def test_the_page_stands_alone(tmp_path: Path, shape: str) -> None:
    plan = make_plan(shape, per_s=20, seconds=20, arm="student" if shape == "ramp-arm" else None)
    write_results(make_results(plan, ASKED, make_record(plan), {}), tmp_path)
    page = (tmp_path / REPORT).read_text()
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert parser.fetched == []
    assert not re.search(r"https?://|url\(|@import|<script", page)
    assert page.count("<svg") == (9 if shape == "steps" else 5)
    assert "nan" not in page


def test_a_run_without_a_single_answer_still_has_a_page(tmp_path: Path) -> None:
    write_results(make_results(STEPS, ASKED, Record(processes=1, ended_s=0, samples=[], beats=[]), {}), tmp_path)
    assert "Nothing was measured" in (tmp_path / REPORT).read_text()
    assert json.loads((tmp_path / RESULTS).read_text())["judged"]["overall"]["p50_ms"] is None
