"""Every citation of ``method.md`` in the code leads to a heading of ``docs/method.md``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("contract", "training", "model_export", "service", "recipes", "benchmarks", "tests")
SECTION = r"\d+(?:\.\d+)?"
CITATION = re.compile(rf"method\.md\s+({SECTION})(?:\s+and\s+({SECTION}))?")
HEADINGS = set(re.findall(rf"^#{{2,3}} ({SECTION})\.? ", (ROOT / "docs" / "method.md").read_text(), re.MULTILINE))


def citations() -> dict[Path, list[tuple[str, ...]]]:
    files = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    found = {path: CITATION.findall(path.read_text()) for path in files if path != Path(__file__)}
    return {path: sections for path, sections in found.items() if sections}


CITED = citations()


@pytest.mark.parametrize("path", CITED, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_cited_section_exists(path: Path) -> None:
    assert {section for sections in CITED[path] for section in sections if section} - HEADINGS == set()


def test_what_the_code_stands_on_is_cited() -> None:
    cited = {section for sections in CITED.values() for pair in sections for section in pair}
    assert {"1.5", "1.6", "1.7", "2.1", "2.3", "3.1", "3.2", "3.3", "4", "5"} <= cited


def test_no_citation_is_without_a_section() -> None:
    bare = re.compile(rf"method(?:\.md| note)(?!\s+{SECTION})(?![|\"])")
    code = [path for package in PACKAGES[:-1] for path in sorted((ROOT / package).rglob("*.py"))]
    assert [str(path.relative_to(ROOT)) for path in code if bare.search(path.read_text())] == []
