"""``python -m training benchmark``: manifest, training, numbers, tables, in one command that can be resumed."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from recipes.benchmark.provenance import provenance, record_call
from recipes.benchmark.results import claims, mean_over_tasks, verdict_paragraph
from recipes.benchmark.schedule import run_benchmark
from recipes.benchmark.selection import rank_on_validation
from recipes.benchmark.sizes import BenchmarkSize, SizeName, read_sizes, reduced
from recipes.benchmark.table import render_benchmark
from recipes.demonstration.five_tasks import build_five_tasks
from training.atomic_write import write_json
from training.config import RunConfig, read_config
from training.data.manifest import Manifest
from training.data.manifest_io import read_manifest, write_manifest
from training.data.validation import require_classes, require_sound
from training.distillation.registry import METHODS
from training.experiment.plan import ExperimentPlan, Workplace, read_plan
from training.report.build import build_report, measure_all

SIZES = Path("configs/benchmark_sizes.yaml")
MANIFEST_FOLDER = "manifest"
_VOCABULARY = Path("vocab/bert-base-uncased-vocab.txt")
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """One benchmark: what is trained on what, and where."""

    size_name: str
    size: BenchmarkSize
    config: RunConfig
    place: Workplace
    jobs: int = 1


def train(manifest: Manifest, request: Request) -> Manifest:
    """Trains what is missing and returns the manifest it was trained on: the given one, cut to the size.

    Raises:
        ManifestError: a trial's training rows of some task, after the cut, hold one class only.
        ValueError: the folder holds another experiment.
    """
    started = time.monotonic()
    manifest = reduced(manifest, request.size.max_rows)
    trials = request.size.plan(manifest)
    require_classes(manifest, [trial.test_fold for trial in trials])
    plan = ExperimentPlan(
        trials=trials,
        methods=request.size.method_names,
        config=request.config,
        manifest_digest=manifest.digest(),
    )
    steps = run_benchmark(manifest, plan, request.place, jobs=request.jobs)
    if not (request.place.out / MANIFEST_FOLDER).exists():
        write_manifest(manifest, request.place.out / MANIFEST_FOLDER)
    record_call(request.place.out, time.monotonic() - started, steps, request.jobs)
    _LOG.info("%d steps were run in %.0f s", steps, time.monotonic() - started)
    return manifest


def build_benchmark(out: Path, manifest: Manifest, size_name: str, *, replicates: int, seed: int = 0) -> dict[str, Any]:
    """The report of a finished experiment, with means over tasks, claims, a verdict in words and provenance.

    Raises:
        FileNotFoundError: a trial is not finished; the message names the file.
        ValueError: the experiment was run on another manifest.
    """
    plan = read_plan(out, manifest)
    results = measure_all(out, manifest, replicates=replicates, seed=seed)
    report = build_report(out, manifest, replicates=replicates, seed=seed, results=results)
    mean = mean_over_tasks(results, plan.methods)
    judged = claims(mean)
    return report | {
        "size": size_name,
        "mean_over_tasks": mean,
        "claims": judged,
        "verdict": verdict_paragraph(mean, judged),
        "provenance": provenance(out),
    }


def write_benchmark(out: Path, document: dict[str, Any], manifest: Manifest) -> list[Path]:
    """Writes benchmark.json, benchmark.md and the page of figures benchmark.html."""
    from training.report.page import render_page  # and with it Matplotlib

    written = [out / f"benchmark.{kind}" for kind in ("json", "md", "html")]
    write_json(written[0], document)
    written[1].write_text(render_benchmark(document))
    written[2].write_text(render_page(document, manifest, out, written_on=date.today()))
    return written


def benchmark(
    out: Annotated[Path, typer.Option(help="The experiment's folder, also one that `training run` began.")],
    data: Annotated[Path | None, typer.Option(help="The development data, for the five tasks.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="Your own manifest, in place of --data.")] = None,
    size: Annotated[SizeName, typer.Option(help="How much is trained: configs/benchmark_sizes.yaml.")] = "standard",
    quick: Annotated[bool, typer.Option("--quick", help="The same as --size quick.")] = False,
    methods: Annotated[
        str | None, typer.Option(help=f"In place of the size's, by commas. There are: {', '.join(METHODS)}.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A preset, in place of the size's.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="So many trials, in place of the size's.")] = None,
    replicates: Annotated[int | None, typer.Option(min=100, help="Of the bootstrap, in place of the size's.")] = None,
    vocabulary: Annotated[
        Path | None,
        typer.Option(help="A BERT vocab.txt; by default the one under --data, else WordPiece is learned."),
    ] = None,
    cache: Annotated[Path, typer.Option(help="Where decoded frames are kept.")] = Path(".cache/frames"),
    jobs: Annotated[int, typer.Option(min=1, help="Processes; each trains one method of one trial at a time.")] = 1,
    sizes: Annotated[Path, typer.Option(help="The file of sizes.")] = SIZES,
    select_on_validation: Annotated[
        bool, typer.Option("--select-on-validation", help="Rank methods on validation rows, and report no test score.")
    ] = False,
    tuning_tasks: Annotated[
        str | None, typer.Option(help="Tasks that --select-on-validation looks at, by commas; all by default.")
    ] = None,
) -> None:
    """Trains all methods on all tasks and says what can be believed: benchmark.json and benchmark.md; resumes.

    `python -m training benchmark --data DATA --out runs/benchmark --quick --jobs 2`
    """
    if (data is None) == (manifest is None):
        raise typer.BadParameter("give either --data or --manifest")
    if tuning_tasks is not None and not select_on_validation:
        raise typer.BadParameter("--tuning-tasks goes with --select-on-validation")
    name = "quick" if quick else size
    given = read_sizes(sizes)
    if name not in given:
        raise typer.BadParameter(f"{sizes} has no size {name}")
    chosen = _overridden(given[name], methods, trials, replicates)
    dataset = build_five_tasks(data) if data is not None else read_manifest(manifest or Path())
    if manifest is not None:
        require_sound(dataset)
    tasks = [task.name for task in dataset.tasks] if tuning_tasks is None else _names(tuning_tasks)
    unknown = sorted(set(tasks) - {task.name for task in dataset.tasks})
    if unknown or not tasks:
        raise typer.BadParameter(f"--tuning-tasks: {', '.join(unknown) or 'nothing'} is no task of the manifest")
    vocabulary = vocabulary or _vocabulary_under(data)
    settings = read_config(config or sizes.parent / chosen.config)
    request = Request(name, chosen, settings, Workplace(out, cache, vocabulary), jobs)
    dataset = train(dataset, request)
    if select_on_validation:
        ranking = rank_on_validation(out, dataset, tasks, replicates=chosen.replicates)
        typer.echo(json.dumps({"tuning_tasks": tasks, "ranking": ranking}, indent=1))
        return
    document = build_benchmark(out, dataset, name, replicates=chosen.replicates)
    written = write_benchmark(out, document, dataset)
    typer.echo(json.dumps({"verdict": document["verdict"], "written": [str(path) for path in written]}, indent=1))


def _overridden(size: BenchmarkSize, methods: str | None, trials: int | None, replicates: int | None) -> BenchmarkSize:
    changes: dict[str, Any] = {}
    if methods is not None:
        changes["methods"] = _names(methods)
    if trials is not None:
        changes |= {"trials": trials, "seeds_per_fold": None}
    if replicates is not None:
        changes["replicates"] = replicates
    return BenchmarkSize.model_validate(size.model_dump() | changes)


def _names(by_commas: str) -> list[str]:
    return [name.strip() for name in by_commas.split(",") if name.strip()]


def _vocabulary_under(data: Path | None) -> Path | None:
    path = None if data is None else data / _VOCABULARY
    return path if path is not None and path.is_file() else None
