"""What the README says is so: its targets exist, its reply is a reply, its figures are the committed report's."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest

from benchmarks.serve import table as speed_table
from model_export.model_card import read_notes
from recipes.benchmark.table import render_headline
from service.api.schemas import Verdict
from training.data.manifest_io import read_manifest
from training.report.markdown import render_summary

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
HEADLINE = (
    *("teacher", "ce", "self_distillation", "self_distillation_crossfit"),
    *("pfd", "cpfd", "pfd_crossfit", "cpfd_crossfit", "cpfd_balanced"),
    *("cpfd_constant", "cpfd_shuffled", "cpfd_inverted"),
)
REPORT = ROOT / "docs" / "benchmarks" / "2026-11-21-default-bundles" / "report.json"


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


def test_the_benchmarks_headline_is_the_documents() -> None:
    folder = ROOT / "docs" / "benchmarks" / "2026-11-21-five-tasks"
    document = json.loads((folder / "benchmark.json").read_text())
    assert render_headline(document, HEADLINE) in README


def test_the_speed_table_is_the_benchmarks() -> None:
    text = (ROOT / "docs" / "benchmarks" / "2026-11-21-serve.md").read_text()
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert "\n".join(table) in README
    measured = json.loads((ROOT / "docs" / "benchmarks" / "2026-11-21-serve.json").read_text())
    assert table == [line for line in speed_table(measured).splitlines() if line.startswith("|")]


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
            of_trial = {metric: own[metric]["trials"][trial] for metric in own}
            assert metrics == {metric: value for metric, value in of_trial.items() if value is not None}


def test_the_manifest_and_card_shown_can_be_read(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "retraining.md").read_text()
    header = re.search(r'(\{"version": 1, "name": "mine".*?\]\})\n\n', text, re.DOTALL)
    row = re.search(r'(\{"id": "v1".*?\}\}\})\n', text, re.DOTALL)
    card = re.search(r"# my_card.yaml\n(.*?)\n\n", text, re.DOTALL)
    assert header is not None
    assert row is not None
    assert card is not None
    (tmp_path / "manifest.json").write_text(header.group(1))
    (tmp_path / "rows.jsonl").write_text(json.dumps(json.loads(row.group(1))) + "\n")
    manifest = read_manifest(tmp_path)
    assert [task.name for task in manifest.tasks] == ["risky", "what"]
    assert manifest.rows[0].split == "train"
    (tmp_path / "card.yaml").write_text(textwrap.dedent(card.group(1)))
    assert set(read_notes(tmp_path / "card.yaml").tasks) == {"direction", "shape", "topics"}
