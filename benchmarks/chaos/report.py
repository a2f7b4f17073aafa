"""Figures -> judgement, JSON and Markdown."""

from __future__ import annotations

from typing import Any

from benchmarks.chaos.registry import Scenario

BOUNDS = (
    "Bounds: nothing lost, nothing crossed, every refusal typed, p99 at most {ratio} x alone, the service ends as it "
    "should, and where it is to survive 95 % of honest requests get a verdict."
)
_COLUMNS: tuple[str, ...] = (
    "scenario",
    "requests",
    "verdicts",
    "typed errors",
    "lost",
    "crossed",
    "p50 ms",
    "p99 ms",
    "p99 alone",
)
_COLUMNS += ("ratio", "MB before, after", "files before, after", "judgement")


def faults(scenario: Scenario, result: dict[str, Any], max_ratio: float) -> list[str]:
    """What a scenario's figures break."""
    honest = result["honest"]
    found = [f"{honest[what]} {what}" for what in ("lost", "crossed", "untyped") if honest[what]]
    if honest["verdicts"] and not result["p99_ratio"] <= max_ratio:
        found.append(f"p99 x {result['p99_ratio']:.2f}")
    share = honest["verdicts"] / max(1, honest["requests"])
    if not honest["verdicts"] or (scenario.survives and share < scenario.least_share):
        found.append(f"{100 * share:.0f} % verdicts")
    found += [f"{what}: {count}" for what, count in result["attack"].items() if what.startswith(scenario.never)]
    if not result["as_meant"]:
        found.append(f"exit {result['exit']}")
    return found


def markdown(document: dict[str, Any]) -> str:
    """The run as a document."""
    lines = [
        "# Hostile callers beside honest ones",
        "",
        f"`make chaos`, {document['date']}; {document['machine']}; {document['honest']}. " + document["bounds"],
        "Attackers run beside the service on the same cores, at the lowest priority.",
        "",
        "| " + " | ".join(_COLUMNS) + " |",
        "|---" * len(_COLUMNS) + "|",
    ]
    for result in document["scenarios"]:
        honest = result["honest"]
        errors = ", ".join(f"{count} {code}" for code, count in honest["errors"].items()) or "0"
        usage = [
            ", ".join(f"{when[what]:g}" for when in (result["before"], result["after"]) if when)
            for what in ("rss_mb", "descriptors")
        ]
        cells = [
            result["name"],
            honest["requests"],
            honest["verdicts"],
            errors,
            honest["lost"],
            honest["crossed"],
            honest["p50_ms"],
            honest["p99_ms"],
            result["p99_alone_ms"],
            result["p99_ratio"],
            *usage,
            "; ".join(result["faults"]) or "held",
        ]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    lines += ["", "What the attackers did, and what they were answered (`end`: the connection was ended on them):", ""]
    for result in document["scenarios"]:
        did = ", ".join(f"{what} {count}" for what, count in sorted(result["attack"].items()))
        lines.append(f"- **{result['name']}**: {result['says']}. {did}.")
    return "\n".join(lines) + "\n"
