"""The run's results as files: results.json, junit.xml and report.html."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from loadtest.report.page import render
from loadtest.verdict.judge import ExitCode
from loadtest.verdict.results import Results

RESULTS, JUNIT, REPORT = "results.json", "junit.xml", "report.html"


def to_json(results: Results) -> dict[str, Any]:
    """results.json: everything but the single samples. What was not measured is null."""
    verdict = results.verdict
    document = {
        "outcome": verdict.exit_code.name.lower(),
        "exit_code": int(verdict.exit_code),
        "about": results.about,
        "plan": asdict(results.plan),
        "objectives": results.objectives.model_dump(mode="json"),
        "checks": [asdict(check) | {"passed": check.passed} for check in verdict.checks],
        "capacity_per_s": verdict.capacity.per_s,
        "capacity_undecided_per_s": verdict.capacity.undecided_per_s,
        "capacity_growing_per_s": verdict.capacity.growing_per_s,
        "generator_at_its_limit": list(verdict.generator_reasons),
        "judged": {
            "overall": asdict(results.overall),
            "arms": {arm: asdict(found) for arm, found in results.arms.items()},
            "kinds": {kind: asdict(found) for kind, found in results.kinds.items()},
        },
        "stages": [asdict(stage) for stage in results.stages],
    }
    cleaned: dict[str, Any] = _without_nan(document)
    return cleaned


def to_junit(results: Results) -> str:
    """junit.xml: a test case for each check; inconclusive ones are errors, failed ones failures."""
    verdict = results.verdict
    failed = [check for check in verdict.checks if not check.passed]
    inconclusive = verdict.exit_code is ExitCode.INCONCLUSIVE
    suite = ElementTree.Element(
        "testsuite",
        name=f"loadtest.{results.plan.shape}",
        tests=str(len(verdict.checks)),
        failures=str(0 if inconclusive else len(failed)),
        errors=str(len(failed) if inconclusive else 0),
        time=f"{results.plan.total_s:.1f}",
    )
    for check in verdict.checks:
        case = ElementTree.SubElement(suite, "testcase", classname=check.scope.replace(" ", "."), name=check.name)
        if not check.passed:
            why = "not decided" if verdict.undecided(check) else "the generator was the limit"
            tag, suffix = ("error", f"; {why}") if inconclusive else ("failure", "")
            ElementTree.SubElement(case, tag, message=check.sentence() + suffix)
    suites = ElementTree.Element("testsuites")
    suites.append(suite)
    ElementTree.indent(suites)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(suites, encoding="unicode") + "\n"


def write_results(results: Results, out: Path) -> None:
    """Writes the three files into ``out``."""
    (out / RESULTS).write_text(json.dumps(to_json(results), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    (out / JUNIT).write_text(to_junit(results), encoding="utf-8")
    (out / REPORT).write_text(render(results), encoding="utf-8")


def _without_nan(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _without_nan(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(held) for held in value]
    return value
