"""What the README says is so: its targets exist, its reply is a reply, its figures are the committed report's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from service.api.schemas import Verdict
from training.report_table import render_summary

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
REPORT = ROOT / "docs" / "benchmarks" / "2026-11-20-default-bundles" / "report.json"


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z-]+)", README))
    assert {"serve", "test", "retrain", "bench-serve"} <= named
    assert named <= targets


def test_every_linked_file_exists() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_reply_shown_is_a_reply() -> None:
    block = re.search(r"```json\n(.*?)```", README, re.DOTALL)
    assert block is not None
    verdict = Verdict.model_validate_json(block.group(1))
    assert set(verdict.tasks) == {"violence", "restricted_object", "clickbait", "news_politics"}


@pytest.mark.parametrize("metric", ["f1", "pr_auc"])
def test_the_results_are_the_reports(metric: str) -> None:
    assert render_summary(json.loads(REPORT.read_text()), metric) in README


def test_the_committed_bundles_are_of_the_committed_report() -> None:
    report = json.loads(REPORT.read_text())
    for name, method in (("xvlm-baseline", "ce"), ("cpfd-student", "cpfd")):
        manifest = json.loads((ROOT / "bundles" / name / "bundle.json").read_text())
        provenance = manifest["provenance"]
        assert provenance["manifest_digest"] == report["manifest"]["digest"]
        assert provenance["config_digest"] == report["config_digest"]
        trial = next(i for i, t in enumerate(report["trials"]) if t["seed"] == provenance["seed"])
        for task, metrics in provenance["metrics"].items():
            own = report["tasks"][task]["methods"][method]
            assert metrics == {metric: own[metric]["trials"][trial] for metric in own}
