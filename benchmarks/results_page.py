"""The results in ``docs/results.md`` and the README, out of the dated documents: ``python -m benchmarks.results_page``.

To show another run, name its document below and run ``make docs``. What stands between ``<!-- NAME -->`` and
``<!-- /NAME -->`` in either file is written here; the words around it are by hand.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.serve import table as speed_table
from recipes.benchmark.table import render_headline
from training.evaluation.shipping import at_thresholds, has_final
from training.report.markdown import render_summary
from training.report.titles import short
from training.report.words import overall, subject_of, task_verdict

ROOT = Path(__file__).resolve().parents[1]
BENCHMARKS = ROOT / "docs" / "benchmarks"
DEFAULT_BUNDLES = "2026-11-27-default-bundles"
FIVE_TASKS = "2026-11-21-five-tasks"
FIVE_TASKS_WITH_ENCODERS = "2026-11-26-five-tasks"
SPEED = "2026-11-27-serve"

HEADLINE = (
    *("teacher", "ce", "self_distillation", "self_distillation_crossfit"),
    *("pfd", "cpfd", "pfd_crossfit", "cpfd_crossfit", "cpfd_balanced"),
    *("cpfd_constant", "cpfd_shuffled", "cpfd_inverted"),
)
"""The methods of the five tasks that the page has room for."""
PAGES = (ROOT / "README.md", ROOT / "docs" / "results.md")


def read_report() -> dict[str, Any]:
    """``report.json`` of the default bundles."""
    return _read(BENCHMARKS / DEFAULT_BUNDLES / "report.json")


ENCODER_METHODS = ("teacher", "ce", "pfd", "cpfd", "self_distillation_crossfit", "cpfd_crossfit", "cpfd_ensemble")


def read_benchmark(name: str = FIVE_TASKS) -> dict[str, Any]:
    """``benchmark.json`` of the five tasks."""
    return _read(BENCHMARKS / name / "benchmark.json")


def blocks() -> dict[str, str]:
    """Name -> the Markdown between its marks."""
    report, benchmark, speed = read_report(), read_benchmark(), _read(BENCHMARKS / f"{SPEED}.json")
    encoders = read_benchmark(FIVE_TASKS_WITH_ENCODERS)
    tables = [line for line in speed_table(speed).splitlines() if line.startswith("|")]
    return {
        "default-bundles-words": "\n\n".join((_verdict(report), _errors(report))),
        "default-bundles-f1": render_summary(report, "f1"),
        "default-bundles-pr-auc": render_summary(report, "pr_auc"),
        "five-tasks": render_headline(benchmark, HEADLINE),
        "five-tasks-encoders": render_headline(encoders, ENCODER_METHODS),
        "speed": "\n".join(tables),
        "default-bundles-line": f"{_verdict(report)} {_errors(report)}",
        "five-tasks-line": _claims(encoders),
        "speed-line": _ratios(speed),
    }


def filled(page: str, parts: Mapping[str, str]) -> str:
    """The page with every marked block written anew.

    Raises:
        KeyError: the page marks a block that there is not.
    """
    return re.sub(
        r"<!-- ([a-z0-9-]+) -->\n.*?<!-- /\1 -->",
        lambda mark: f"<!-- {mark[1]} -->\n{parts[mark[1]].strip()}\n<!-- /{mark[1]} -->",
        page,
        flags=re.DOTALL,
    )


def _verdict(report: Mapping[str, Any]) -> str:
    subject = subject_of(report)
    verdicts = {name: task_verdict(task, subject, report["methods"]) for name, task in report["tasks"].items()}
    return overall(report, verdicts)


def _errors(report: Mapping[str, Any]) -> str:
    """What a moderator would see of the student, the most false alarms first."""
    subject = subject_of(report)
    assert subject is not None
    shares = {
        name: at_thresholds(task, subject, final=has_final(task, subject)) for name, task in report["tasks"].items()
    }
    worst_first = sorted(shares, key=lambda name: -float(shares[name]["overkill"]["mean"]))
    share = {name: (shares[name]["overkill"]["mean"], shares[name]["miss_rate"]["mean"]) for name in worst_first}
    flagged, missed = (f"{100 * value:.0f} %" for value in share[worst_first[0]])
    others = [f"{100 * flags:.0f} % and {100 * misses:.0f} % on {name}" for name, (flags, misses) in share.items()]
    first = f"{flagged} of harmless rows and misses {missed} of positive ones on {worst_first[0]}"
    return f"At its thresholds {short(subject)} flags {'; '.join([first, *others[1:]])}."


def _claims(benchmark: Mapping[str, Any]) -> str:
    by_verdict: dict[str, list[str]] = {}
    for name, claim in benchmark["claims"].items():
        by_verdict.setdefault(claim["verdict"], []).append(name)
    words = [f"{', '.join(names)}: {verdict}" for verdict, names in by_verdict.items()]
    return f"On mean F1 over five tasks. {'; '.join(words)[:1].upper()}{'; '.join(words)[1:]}."


def _ratios(speed: Mapping[str, Any]) -> str:
    ratios = [run["ratio_to_in_process"] for run in speed["service"]]
    callers = ", ".join(str(run["callers"]) for run in speed["service"])
    return (
        f"With {callers} callers the service answers {min(ratios):.2f} to {max(ratios):.2f} of what a plain loop of "
        "decode and inference does on the same cores."
    )


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(path.read_text())
    return document


def main() -> None:
    """Writes both pages; with ``--check`` only says which are stale, and exits with 1 if one is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    parts, stale = blocks(), []
    for page in PAGES:
        text = page.read_text()
        if filled(text, parts) != text:
            stale.append(page.name)
            if not check:
                page.write_text(filled(text, parts))
    if check and stale:
        sys.exit(f"stale, run `make docs`: {', '.join(stale)}")


if __name__ == "__main__":
    main()
