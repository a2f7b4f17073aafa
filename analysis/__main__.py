"""What an analyst does with an experiment, in the order of time: ``python -m analysis --help``.

Results are JSON on stdout, progress and failures on stderr. Exit 0 done, 1 failed, 2 bad usage.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from analysis.errors import AnalysisError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)


class Evidence(StrEnum):
    """Of ``--evidence``."""

    SPLIT = "split"
    PAIRED = "paired"


class Kind(StrEnum):
    """Of ``demo --kind``."""

    GOOD = "good"
    BROKEN = "broken"
    TINY = "tiny"


@app.command()
def plan(
    units: Annotated[int, typer.Option(min=10, help="That will come, in both arms together.")],
    metric: Annotated[str, typer.Option(help="recall, precision, overkill, miss or error_rate.")] = "recall",
    base_rate: Annotated[float, typer.Option(help="What the control has.")] = 0.8,
    counting_rows: Annotated[
        float, typer.Option(help="Share of videos that the metric is about: positives, for recall.")
    ] = 0.05,
    effect: Annotated[float | None, typer.Option(help="That matters, as a difference of shares.")] = None,
    treatment_share: Annotated[float, typer.Option(help="Of the units.")] = 0.5,
    rows_a_unit: Annotated[float, typer.Option(help="Mean number of videos of a unit.")] = 2.0,
    rows_variation: Annotated[float, typer.Option(help="Standard deviation over mean of that number.")] = 0.5,
    unit_correlation: Annotated[float, typer.Option(help="Of two videos of a unit, in what is counted.")] = 0.1,
    review_flagged: Annotated[float, typer.Option(help="Probability that a flagged video is labelled.")] = 1.0,
    review_passed: Annotated[float, typer.Option(help="The same of a video that was not flagged.")] = 1.0,
    alpha: Annotated[float, typer.Option(help="Two-sided.")] = 0.05,
    power: Annotated[float, typer.Option(help="That is wanted.")] = 0.8,
    looks: Annotated[int, typer.Option(min=1, max=500, help="At even distances.")] = 50,
) -> None:
    """Says before the start what an experiment can find, with one look at the end and with looks at any time.

    `python -m analysis plan --units 200000 --base-rate 0.8 --counting-rows 0.05 --review-passed 0.1 --effect 0.03`
    """
    from analysis.plan.design import Design
    from analysis.plan.power import plan_document

    design = Design.model_validate(
        {
            "metric": metric, "base_rate": base_rate, "counting_rows": counting_rows,
            "treatment_share": treatment_share, "rows_a_unit": rows_a_unit, "rows_variation": rows_variation,
            "unit_correlation": unit_correlation, "review_flagged": review_flagged, "review_passed": review_passed,
            "alpha": alpha, "power": power, "looks": looks,
        }
    )  # fmt: skip
    _print(plan_document(design, units, effect))


@app.command()
def report(
    log: Annotated[Path, typer.Option(help="Folder of the decision log: SQLite and Parquet files.")],
    out: Annotated[Path, typer.Option(help="Folder for report.json and report.html.")],
    feedback: Annotated[
        list[Path] | None, typer.Option(help="A file of labels beside the log's: .jsonl, .csv, .parquet. Repeatable.")
    ] = None,
    experiment: Annotated[str | None, typer.Option(help="Its name, where the log holds several.")] = None,
    control: Annotated[str | None, typer.Option(help="The arm that serves today.")] = None,
    treatment: Annotated[str | None, typer.Option(help="The arm that may replace it.")] = None,
    shares: Annotated[
        str | None, typer.Option(help="Planned weights, as `baseline=50,student=50`; else equal.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="Exposures from then on: 2026-11-20 or with a time, UTC.")] = None,
    until: Annotated[str | None, typer.Option(help="Exposures before then.")] = None,
    source: Annotated[list[str] | None, typer.Option(help="Labels from this source alone. Repeatable.")] = None,
    positive: Annotated[
        list[str] | None, typer.Option(help="Labels that raise a task's flag, as `violence=mild,graphic`. Repeatable.")
    ] = None,
    primary: Annotated[str, typer.Option(help="The metric that decides.")] = "f1",
    margin: Annotated[float, typer.Option(help="By how much the treatment may be worse in it.")] = 0.02,
    evidence: Annotated[
        Evidence, typer.Option(help="What decides: the arms' units, or shadow pairs.")
    ] = Evidence.SPLIT,
    alpha: Annotated[float, typer.Option(help="Chance of a false finding.")] = 0.05,
    planned_units: Annotated[
        int, typer.Option(help="Labelled units at which intervals are narrowest; chosen before the start.")
    ] = 1000,
    max_p50_ratio: Annotated[float, typer.Option(help="Guardrail: p50, treatment / control.")] = 1.1,
    max_p99_ratio: Annotated[float, typer.Option(help="Guardrail: p99, treatment / control.")] = 1.1,
    max_error_rise: Annotated[
        float, typer.Option(help="Guardrail: share without a verdict, treatment - control.")
    ] = 0.005,
    max_cost_ratio: Annotated[
        float, typer.Option(help="Guardrail: cost per 1,000 verdicts, treatment / control.")
    ] = 1.1,
    cpu_hour_price: Annotated[float | None, typer.Option(help="In any currency; else cost is in CPU seconds.")] = None,
    replicates: Annotated[int, typer.Option(help="Of the bootstrap.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
) -> None:
    """Reads log and labels and says whether the treatment replaces the control, if the experiment can be trusted.

    `python -m analysis report --log decisions --out report --shares baseline=50,student=50`
    """
    from analysis.findings.report import build_report
    from analysis.page.page import render_page
    from analysis.question import Question

    question = Question.model_validate(
        {
            "experiment": experiment, "control": control, "treatment": treatment,
            "shares": {arm: _weight(arm, weight) for arm, weight in _pairs(shares, "--shares")},
            "since_ms": _milliseconds(since), "until_ms": _milliseconds(until), "sources": source or (),
            "positive": {
                task: tuple(labels.split(",")) for one in positive or () for task, labels in [_pair(one, "--positive")]
            },
            "primary": primary, "margin": margin, "evidence": evidence.value, "alpha": alpha,
            "planned_units": planned_units, "max_p50_ratio": max_p50_ratio, "max_p99_ratio": max_p99_ratio,
            "max_error_rise": max_error_rise, "max_cost_ratio": max_cost_ratio, "cpu_hour_price": cpu_hour_price,
            "replicates": replicates, "seed": seed,
        }
    )  # fmt: skip
    document = build_report(log, feedback or (), question)
    page = render_page(document, written_on=datetime.now(UTC).date())
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "report.json", json.dumps(document, indent=1, allow_nan=False) + "\n")
    _write(out / "report.html", page)
    lights = {light["name"]: light["state"] for light in document["preconditions"]}
    _print({"decision": document["decision"], "preconditions": lights, "page": str(out / "report.html")})


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder of the dated document.")] = Path("docs/benchmarks"),
    day: Annotated[str | None, typer.Option(help="In the document's name; today where it is not given.")] = None,
    repetitions: Annotated[int, typer.Option(min=2, help="Of A/A and of the planted effect.")] = 500,
    covered: Annotated[int, typer.Option(min=2, help="Experiments for the coverage of intervals.")] = 1000,
    units: Annotated[int, typer.Option(min=20_000, help="Of the large A/A.")] = 200_000,
    seed: Annotated[int, typer.Option(help="The same gives the same figures.")] = 0,
) -> None:
    """Proves on simulated experiments that the statistics keep their promises; minutes on one core.

    `OMP_NUM_THREADS=1 python -m analysis simulate --out docs/benchmarks`
    """
    from analysis.simulation.document import Size, promises, run_studies, write_document

    size = Size(repetitions=repetitions, covered=covered, units=units)
    document = run_studies(size, seed, _progress)
    command = (
        f"python -m analysis simulate --repetitions {repetitions} --covered {covered} --units {units} --seed {seed}"
    )
    page = write_document(document, out, day or datetime.now(UTC).date().isoformat(), command)
    missed = [name for name, _, _, holds in promises(document) if not holds]
    _print({"document": str(page), "promises": len(promises(document)), "missed": missed})


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the made log.")],
    kind: Annotated[
        Kind, typer.Option(help="A sound experiment, one that lost units, one that has hardly begun.")
    ] = Kind.GOOD,
) -> None:
    """Writes the decision log of a made experiment, to practise on.

    `python -m analysis demo --out /tmp/made && python -m analysis report --log /tmp/made --out /tmp/made-report \
--experiment student-replaces-baseline`
    """
    from analysis.simulation.made_log import EXPERIMENT, KINDS, write_made_log

    write_made_log(KINDS[kind.value], out)
    _print({"log": str(out), "experiment": EXPERIMENT})


def _progress(steps: Iterable[int]) -> Iterable[int]:
    """Shows how far a study is, where someone watches."""
    if not sys.stderr.isatty():
        return steps
    return _bar(list(steps))


def _bar(steps: list[int]) -> Iterable[int]:
    with typer.progressbar(steps, file=sys.stderr) as bar:
        yield from bar


def _pairs(text: str | None, option: str) -> list[tuple[str, str]]:
    return [_pair(part, option) for part in (text or "").split(",") if part]


def _pair(text: str, option: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise typer.BadParameter(f"{text!r}: expected NAME=VALUE", param_hint=option)
    return name.strip(), value.strip()


def _weight(arm: str, text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < float("inf"):
        raise typer.BadParameter(f"{arm}={text}: a weight is a number from 0", param_hint="--shares")
    return weight


def _milliseconds(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text!r}: expected a date or a time, as 2026-11-20T12:00") from error
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _write(path: Path, text: str) -> None:
    """There whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _print(document: Any) -> None:
    typer.echo(json.dumps(document, indent=1, allow_nan=False))


def main() -> None:
    """Runs a command; an expected failure is one line on stderr and exit 1."""
    from pydantic import ValidationError

    try:
        app()
    except ValidationError as error:
        fault = error.errors()[0]
        typer.echo(f"{'.'.join(map(str, fault['loc'])) or 'options'}: {fault['msg']}", err=True)
        raise SystemExit(2) from error
    except (AnalysisError, OSError) as error:
        typer.echo(str(error), err=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
