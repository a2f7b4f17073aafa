"""The score of a sample, and what the next one needs to act on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter

from benchmarks.mutants.listing import Mutant
from benchmarks.mutants.packages import Package
from benchmarks.mutants.scratch import Outcome

EQUIVALENT_FILE = Path(__file__).with_name("equivalent.yaml")
_NOTICED = ("killed", "timeout")
_MISSED = ("survived", "no_tests")
_SECTIONS = {
    "Survivors": "survivors",
    "Timed out: a mutant that would not hang was ended by the machine's load, and is no kill": "timeouts",
    "Equivalent: no test can tell them apart": "equivalent",
}


class Equivalent(BaseModel):
    """One row of ``equivalent.yaml``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    function: str
    diff: tuple[str, ...]
    """As ``Mutant.diff``, each line without the blanks around it."""
    why: str


def read_equivalent(path: Path = EQUIVALENT_FILE) -> list[Equivalent]:
    """The mutants that no test can kill."""
    return TypeAdapter(list[Equivalent]).validate_python(yaml.safe_load(path.read_text()))


def known_reason(mutant: Mutant, equivalent: Sequence[Equivalent]) -> str | None:
    """Why no test can kill this mutant; None where one could."""
    diff = tuple(_squeezed(line) for line in mutant.diff)
    for one in equivalent:
        same = tuple(_squeezed(line) for line in one.diff) == diff
        if (one.file, one.function) == (mutant.file, mutant.function) and same:
            return one.why
    return None


def package_result(
    package: Package,
    listed: Sequence[Mutant],
    chosen: Sequence[Mutant],
    outcomes: Mapping[str, Outcome],
    equivalent: Sequence[Equivalent],
) -> dict[str, Any]:
    """What is written of one package.

    Args:
        package: what was mutated.
        listed: all its mutants.
        chosen: the sample.
        outcomes: of the sample, by name.
        equivalent: mutants that no test can kill.
    """
    counts: Counter[str] = Counter()
    survivors, reasons, ended = [], [], []
    for mutant in chosen:
        outcome, reason = outcomes[mutant.name], known_reason(mutant, equivalent)
        if outcome in _MISSED and reason is not None:
            counts["equivalent"] += 1
            reasons.append(_entry(mutant) | {"why": reason})
            continue
        counts[outcome] += 1
        if outcome in _MISSED:
            survivors.append(_entry(mutant) | {"outcome": outcome})
        elif outcome == "timeout":
            ended.append(_entry(mutant))
    return {
        "tests": list(package.tests),
        "left_out": package.left_out,
        "mutants": len(listed),
        "not_sampled": dict(sorted(Counter(m.kind for m in listed if m.kind != "substance").items())),
        "sampled": len(chosen),
        "outcomes": dict(sorted(counts.items())),
        "score": score(counts),
        "survivors": survivors,
        "timeouts": ended,
        "equivalent": reasons,
    }


def score(counts: Mapping[str, int]) -> float | None:
    """Killed / (killed + survived): what ran out of time is killed, what no test reaches has survived."""
    noticed, missed = (sum(counts.get(name, 0) for name in names) for names in (_NOTICED, _MISSED))
    return round(noticed / (noticed + missed), 4) if noticed + missed else None


def overall(packages: Mapping[str, Mapping[str, Any]]) -> float | None:
    """The score over the samples of all packages together."""
    counts: Counter[str] = Counter()
    for one in packages.values():
        counts.update(one["outcomes"])
    return score(counts)


def page(document: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> str:
    """The document for people."""
    lines = [
        f"# Mutants, {document['date']}",
        "",
        f"How hard the tests bite: of each package {document['sample']} mutants, drawn with seed {document['seed']}",
        f"among those that mutmut {document['mutmut']} makes of it, run against the tests that belong to the package.",
        "A mutant that no test reaches has survived; one that runs out of time is killed. Prose in messages and logs,",
        "`strict=` of a zip and the type of a cast are not sampled. mutmut leaves functions with decorators and",
        "constants of a module as they are.",
        "",
        f"Command: `{document['command']}`. Revision `{document['revision'][:12]}`.",
        "",
        "| package | mutants | sampled | killed | timed out | survived | untested | equivalent | score | before |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    earlier = before["packages"] if before else {}
    for name, one in document["packages"].items():
        outcomes = one["outcomes"]
        cells = [str(outcomes.get(key, 0)) for key in ("killed", "timeout", "survived", "no_tests", "equivalent")]
        was = shown(earlier[name]["score"]) if name in earlier else "-"
        lines.append(
            f"| {name} | {one['mutants']} | {one['sampled']} | {' | '.join(cells)} | {shown(one['score'])} | {was} |"
        )
    total = shown(document["score"])
    lines.append(f"| all | | | | | | | | {total} | {shown(before['score']) if before else '-'} |")
    waiting = sum(one["outcomes"].get("not_run", 0) for one in document["packages"].values())
    if waiting:
        lines += ["", f"The time was over before {waiting} of the sample had run: they count for nothing."]
    if before:
        lines += ["", f"Before: {before['words']}"]
    for title, key in _SECTIONS.items():
        lines += ["", f"## {title}", "", *_listed(document, key)]
    return "\n".join(lines) + "\n"


def shown(value: float | None) -> str:
    """Two decimals; a dash where nothing ran."""
    return "-" if value is None else f"{value:.2f}"


def _listed(document: Mapping[str, Any], key: str) -> list[str]:
    lines = []
    for one in document["packages"].values():
        for entry in one.get(key, ()):  # a document from before there was the section
            why = f" {entry['why']}" if "why" in entry else ""
            lines += [f"- `{entry['file']}:{entry['line']}` in `{entry['function']}`:{why}", "", "  ```diff"]
            lines += [*(f"  {line}" for line in entry["diff"]), "  ```", ""]
    return lines or ["None."]


def _entry(mutant: Mutant) -> dict[str, Any]:
    kept = asdict(mutant)
    return {name: kept[name] for name in ("file", "line", "function", "diff", "name")}


def _squeezed(line: str) -> str:
    return line[:1] + " ".join(line[1:].split())
