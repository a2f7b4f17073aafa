"""What the README says is so: it is short, its targets exist, its reply is a reply; and no page links to nothing."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

import pytest

from model_export.model_card import read_notes
from service.api.schemas import Verdict
from training.data.manifest_io import read_manifest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
PAGES = (ROOT / "README.md", ROOT / "helm" / "cpfd" / "README.md", *sorted((ROOT / "docs").rglob("*.md")))


def test_the_readme_is_a_page() -> None:
    assert len(README.splitlines()) <= 160


def test_make_bundles_writes_the_version_that_is_committed() -> None:
    (version,) = re.findall(r"^VERSION \?= (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    manifests = [json.loads(path.read_text()) for path in (ROOT / "bundles").glob("*/bundle.json")]
    assert {manifest["version"] for manifest in manifests} == {version}


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in (ROOT / "README.md", ROOT / "docs" / "results.md"):
        named = set(re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", page.read_text(), re.MULTILINE))
        assert named
        assert {name for pair in named for name in pair if name} <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_linked_file_exists(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#\s]+)", page.read_text()) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_no_two_decisions_have_one_number() -> None:
    numbers = [path.name.partition("-")[0] for path in (ROOT / "docs" / "adr").glob("*.md")]
    assert sorted(numbers) == sorted(set(numbers))


def test_the_reply_shown_is_a_reply() -> None:
    block = re.search(r"```json\n(.*?)```", README, re.DOTALL)
    assert block is not None
    verdict = Verdict.model_validate_json(block.group(1))
    assert set(verdict.tasks) < {"violence", "restricted_object", "clickbait", "news_politics"}


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
