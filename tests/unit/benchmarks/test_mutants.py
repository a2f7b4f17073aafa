"""The mutants' run: what is sampled, where a mutant stands, what counts as noticed. mutmut itself is not needed."""

from __future__ import annotations

import ast
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from benchmarks.mutants.__main__ import sample
from benchmarks.mutants.listing import Mutant, mutants_of
from benchmarks.mutants.packages import Package, read_packages
from benchmarks.mutants.results import Equivalent, known_reason, overall, package_result, page, read_equivalent, score
from benchmarks.mutants.scratch import Limits, Scratch, outcome_of
from benchmarks.mutants.substance import Difference, compare

ROOT = Path(__file__).resolve().parents[3]


def difference(line: str, mutated: str) -> Difference:
    one, other = (
        ast.parse(f"def {name}():\n    x = 1\n    {text}").body[0] for name, text in (("f", line), ("g", mutated))
    )
    return compare(one, other)


@pytest.mark.parametrize(
    ("line", "mutated"),
    [
        ("return a < b", "return a <= b"),
        ("return f(a, b)", "return f(a)"),
        ("return f(a, b)", "return f(a, None)"),
        ("return f(a, b=True)", "return f(a, b=False)"),
        ("return f(a, strict=True)", "return f(a, strict=False)"),
        ('return {"name": a}', 'return {"XXnameXX": a}'),
        ('return f"logits_{name}"', "return None"),
        ("return 1", "return 2"),
        ("return 1", "return 1.0"),
        ("return True", "return 1"),
        ("x = 2", "x = None"),
        ("x += 2", "x = 2"),
        ("return not a", "return a"),
        ("async def inner(): ...", "async def other(): ..."),
    ],
)
def test_what_a_program_does_is_of_substance(line: str, mutated: str) -> None:
    assert difference(line, mutated) == Difference(2, "substance")


@pytest.mark.parametrize(
    ("line", "mutated", "kind"),
    [
        ('raise ValueError("send it again")', 'raise ValueError("XXsend it againXX")', "words"),
        ('raise ValueError("send it again")', "raise ValueError(None)", "words"),
        ('raise Busy("send it again", retry_after_s=1)', "raise Busy(retry_after_s=1)", "words"),
        ('raise ValueError(f"over {x + 1}")', 'raise ValueError(f"over {x - 1}")', "words"),
        ('raise ValueError(f"over {x}")', "raise ValueError(None)", "words"),
        ('log.warning("%s", a)', 'log.warning("%s", None)', "words"),
        ('_LOG.info("x", extra={"a": 1})', '_LOG.info("x", extra={"XXaXX": 1})', "words"),
        ("warnings.warn(told, Kind, stacklevel=2)", "warnings.warn(told, Kind, stacklevel=3)", "words"),
        ("return zip(a, b, strict=True)", "return zip(a, b, strict=False)", "assertion"),
        ("return zip(a, b, strict=True)", "return zip(a, b, )", "assertion"),
        ("return cast(Split, name)", "return cast(None, name)", "typing"),
    ],
)
def test_words_and_assertions_are_not(line: str, mutated: str, kind: str) -> None:
    assert difference(line, mutated).kind == kind


@pytest.mark.parametrize(
    ("line", "mutated"),
    [
        ('raise Busy("send it again", retry_after_s=1)', 'raise Busy("send it again", retry_after_s=2)'),
        ("return zip(a, b, strict=True)", "return zip(a, None, strict=True)"),
        ("return cast(Split, name)", "return cast(Split, None)"),
        ("raise ValueError(code)", "raise ValueError(None)"),
    ],
)
def test_what_stands_beside_them_is(line: str, mutated: str) -> None:
    assert difference(line, mutated).kind == "substance"


def test_a_mutant_that_differs_in_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing"):
        difference("return 1", "return 1")


SOURCE = '''
import os


@os.decorated
def plain(): ...


def largest(a: int) -> int:
    """Doc."""
    return max(
        a,
        1,
    )


class Lane:
    def open(self, n):
        return n > 1
'''
MUTATED = '''
import os
def x_largest__mutmut_orig(a: int) -> int:
    """Doc."""
    return max(
        a,
        1,
    )
def x_largest__mutmut_1(a: int) -> int:
    """Doc."""
    return max(
        a,
        2,
    )
class Lane:
    @mutated
    def open(self, n):
        pass
    def x\u01c1Lane\u01c1open__mutmut_orig(self, n):
        return n > 1
    def x\u01c1Lane\u01c1open__mutmut_2(self, n):
        return n >= 1
'''


def test_a_mutant_is_named_by_its_place_in_the_source() -> None:
    first, second = mutants_of("pool/lane.py", SOURCE, MUTATED)
    assert first == Mutant(
        "pool.lane.x_largest__mutmut_1", "pool/lane.py", 13, "largest", "substance", ("-        1,", "+        2,")
    )
    assert (second.function, second.line) == ("Lane.open", 19)
    assert second.diff == ("-    return n > 1", "+    return n >= 1")


def mutant(number: int, kind: Any = "substance", **changed: Any) -> Mutant:
    fields: dict[str, Any] = {"file": "a.py", "line": number, "function": "f", "diff": ("-  x", f"+  y{number}")}
    return Mutant(name=f"m{number:03}", kind=kind, **fields | changed)


def test_a_sample_follows_its_seed_and_holds_nothing_but_substance() -> None:
    listed = [mutant(i, "words" if i % 3 == 0 else "substance") for i in range(60)]
    first, again, other = (sample(listed, 10, seed) for seed in ("0:a", "0:a", "1:a"))
    assert first == again != other
    assert len({one.name for one in first}) == 10
    assert {one.kind for one in first} == {"substance"}
    assert sample(listed, 20, "0:a")[:10] == first, "a larger sample holds the smaller one"
    assert len(sample(listed, 100, "0:a")) == 40


@pytest.mark.parametrize(
    ("code", "outcome"),
    [
        (None, "not_run"),
        (0, "survived"),
        (33, "no_tests"),
        (1, "killed"),
        (2, "killed"),
        (-11, "killed"),
        (-24, "timeout"),
    ],
)
def test_what_an_exit_code_says(code: int | None, outcome: str) -> None:
    assert outcome_of(code) == outcome


def test_the_score_counts_what_ran_and_could_be_noticed() -> None:
    assert score({"killed": 6, "timeout": 1, "survived": 2, "no_tests": 1, "equivalent": 5, "not_run": 9}) == 0.7
    assert score({"not_run": 3, "equivalent": 2}) is None


def test_survivors_are_listed_and_equivalent_ones_apart_with_their_reason() -> None:
    chosen = [mutant(i) for i in range(5)]
    codes = ("killed", "survived", "survived", "no_tests", "not_run")
    outcomes: Any = {one.name: code for one, code in zip(chosen, codes, strict=True)}
    equivalent = [Equivalent(file="a.py", function="f", diff=("- x", "+ y2"), why="The same.")]
    package = Package(mutate=("a.py",), tests=("tests",))
    found = package_result(package, [*chosen, mutant(9, "words")], chosen, outcomes, equivalent)
    assert found["outcomes"] == {"equivalent": 1, "killed": 1, "no_tests": 1, "not_run": 1, "survived": 1}
    assert [one["line"] for one in found["survivors"]] == [1, 3]
    assert [one["why"] for one in found["equivalent"]] == ["The same."]
    assert (found["mutants"], found["sampled"], found["not_sampled"]) == (6, 5, {"words": 1})
    assert found["score"] == pytest.approx(1 / 3, abs=1e-4)
    assert overall({"a": found, "b": {"outcomes": {"killed": 5}}}) == 0.75
    document = {"date": "2026-11-25", "mutmut": "3", "seed": 0, "sample": 5, "score": 0.33, "packages": {"a": found}}
    before = {"score": 0.2, "packages": {"a": {"score": 0.25}}, "words": "older."}
    text = page(document | {"command": "c", "revision": "0" * 40}, before)
    assert "| a | 6 | 5 | 1 | 0 | 1 | 1 | 1 | 0.33 | 0.25 |" in text
    assert "- `a.py:1` in `f`:" in text
    assert "- `a.py:2` in `f`: The same." in text
    assert "before 1 of the sample had run" in text


def test_those_that_ran_out_of_time_are_listed_for_people_to_judge() -> None:
    one, other = mutant(1), mutant(2)
    outcomes: Any = {one.name: "timeout", other.name: "killed"}
    found = package_result(Package(mutate=(), tests=()), [one, other], [one, other], outcomes, [])
    assert [entry["name"] for entry in found["timeouts"]] == [one.name]
    document = {"date": "2026-11-25", "mutmut": "3", "seed": 0, "sample": 2, "score": 1.0, "packages": {"a": found}}
    document |= {"command": "c", "revision": "0" * 40}
    assert text_of(document, "Timed out") == ["- `a.py:1` in `f`:"]
    del found["timeouts"]
    assert text_of(document, "Timed out") == []


def text_of(document: dict[str, Any], title: str) -> list[str]:
    """The mutants that a section of the page lists."""
    section = page(document).split(f"## {title}")[1].split("\n## ")[0]
    return [line for line in section.splitlines() if line.startswith("- ")]


def test_a_mutant_that_was_killed_needs_no_reason() -> None:
    one = mutant(1)
    same = Equivalent(file="a.py", function="f", diff=("-x", "+y1"), why="The same.")
    assert known_reason(one, [same]) == "The same."
    assert known_reason(one, [same.model_copy(update={"function": "g"})]) is None
    found = package_result(Package(mutate=(), tests=()), [one], [one], {one.name: "killed"}, [same])
    assert found["outcomes"] == {"killed": 1}


def test_every_package_has_files_and_tests_in_this_tree() -> None:
    packages = read_packages()
    assert {"contract", "stages", "model_export", "distillation", "evaluation"} <= set(packages)
    for package in packages.values():
        assert len(package.files(ROOT)) > 3
        assert all((ROOT / test).exists() for test in package.tests)
        assert all((ROOT / file).is_file() for file in package.left_out)
    with pytest.raises(ValueError, match="finds no file"):
        Package(mutate=("nowhere/*.py",), tests=()).files(ROOT)


def test_every_equivalent_mutant_is_of_a_file_that_is_there() -> None:
    for one in read_equivalent():
        assert one.why.endswith(".")
        lines = {" ".join(line.split()) for line in (ROOT / one.file).read_text().splitlines()}
        taken_out = [" ".join(line[1:].split()) for line in one.diff if line.startswith("-")]
        assert taken_out
        assert set(taken_out) <= lines, f"{one.file} has changed: {one.function}"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    for name, text in {"contract/a.py": "A = 1\n", "tests/unit/test_a.py": "", "pyproject.toml": "[x]\n"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for command in (["init", "--quiet"], ["add", "--all"]):
        subprocess.run(["git", "-C", str(root), *command], check=True)
    return root


def test_a_scratch_folder_follows_the_tree_and_says_when_it_changed(repository: Path, tmp_path: Path) -> None:
    package = Package(mutate=("contract/*.py",), tests=("tests/unit",))

    def scratch() -> Scratch:
        return Scratch(tmp_path / "scratch", repository, package, Limits(7, 2))

    first = scratch()
    assert first.changed
    settings = (first.folder / "pyproject.toml").read_text()
    assert settings.startswith("[x]\n")
    assert 'only_mutate = ["contract/a.py"]' in settings
    assert "timeout_constant = 7" in settings
    assert not scratch().changed
    (repository / "contract" / "a.py").write_text("A = 2\n")
    assert scratch().changed
    assert (first.folder / "contract" / "a.py").read_text() == "A = 2\n"
    subprocess.run(["git", "-C", str(repository), "rm", "--quiet", "--force", "tests/unit/test_a.py"], check=True)
    assert scratch().changed
    assert not (first.folder / "tests" / "unit" / "test_a.py").exists()
    assert not scratch().changed


def test_outcomes_are_what_mutmut_wrote_down(repository: Path, tmp_path: Path) -> None:
    package = Package(mutate=("contract/*.py",), tests=("tests/unit",))
    scratch = Scratch(tmp_path / "scratch", repository, package, Limits())
    chosen = [mutant(i, file="contract/a.py") for i in range(3)]
    assert set(scratch.outcomes(chosen).values()) == {"not_run"}
    (scratch.folder / "mutants" / "contract").mkdir(parents=True)
    meta = {"exit_code_by_key": {"m000": 1, "m001": 0, "other": 0}}
    (scratch.folder / "mutants" / "contract" / "a.py.meta").write_text(json.dumps(meta))
    assert scratch.outcomes(chosen) == {"m000": "killed", "m001": "survived", "m002": "not_run"}
