"""``python -m training synthetic-benchmark``: every method where the answer is known."""

from __future__ import annotations

from typing import Annotated

import typer

from recipes.synthetic_benchmark.benchmark import run_benchmark
from recipes.synthetic_benchmark.table import render
from training.atomic_write import write_json
from training.commands.options import Out, print_result


def synthetic_benchmark(
    out: Out,
    quick: Annotated[bool, typer.Option("--quick", help="12 seeds and 3 points of the curve.")] = False,
) -> None:
    """Checks every method where the answer is known: `python -m training synthetic-benchmark --out runs/synthetic`."""
    out.mkdir(parents=True, exist_ok=True)
    document = run_benchmark(quick=quick)
    write_json(out / "synthetic.json", document)
    (out / "synthetic.md").write_text(render(document))
    held = [one["held"] for study in document["studies"].values() for one in study["expectations"]]
    print_result({"table": str(out / "synthetic.md"), "expectations": len(held), "held": sum(held)})
