"""The map in docs/architecture.md: sixteen behaviours, each in a file that exists under a name that it defines."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "architecture.md").read_text()
ROWS = re.findall(r"^\| ([^|`]+) \| `([a-z_/]+\.py)` \| `(\w+)` \|$", TEXT, re.MULTILINE)
MOST_FILES = 15


def test_the_map_has_sixteen_rows() -> None:
    assert len(ROWS) == len({behaviour for behaviour, _, _ in ROWS}) == 16


@pytest.mark.parametrize(("behaviour", "file", "name"), ROWS)
def test_each_behaviour_is_where_the_map_says(behaviour: str, file: str, name: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    defined = {
        node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef)
    }
    assert name in defined, f"{behaviour}: {file} defines {', '.join(sorted(defined))}"


def test_the_rooms_are_those_of_the_import_rules() -> None:
    layers = re.search(r'containers = \["training"\]\nexhaustive = true\nlayers = \[(.*?)\]', _pyproject(), re.DOTALL)
    assert layers is not None
    ordered = re.findall(r'"([a-z_]+)"', layers.group(1))
    rooms = TEXT[TEXT.index("## Rooms of training") : TEXT.index("Before (revision")]
    assert [room for room in re.findall(r"^    (\w+) {2,}", rooms, re.MULTILINE)] == [
        room for room in ordered if room not in ("config", "atomic_write", "errors")
    ]


@pytest.mark.parametrize("package", ["contract", "training", "model_export", "recipes", "benchmarks"])
def test_no_folder_is_a_drawer(package: str) -> None:
    files = [path.parent for path in (ROOT / package).rglob("*.py") if path.name != "__init__.py"]
    counts = Counter(str(folder.relative_to(ROOT)) for folder in files)
    assert counts
    assert {folder: count for folder, count in counts.items() if count > MOST_FILES} == {}


def _pyproject() -> str:
    return (ROOT / "pyproject.toml").read_text()
