"""The commands of training, in the order in which a run needs them: ``python -m training --help``.

Results are JSON on stdout, logs and progress on stderr. Exit 0 done, 1 failed, 2 bad usage.
"""

from __future__ import annotations

import json
import logging
import sys
from concurrent.futures.process import BrokenProcessPool
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic import ValidationError

from contract.errors import ContractError
from contract.video import DecodeLimits
from recipes.benchmark.command import benchmark
from recipes.demonstration.four_tasks import build_default
from recipes.synthetic_benchmark.benchmark import run_benchmark
from recipes.synthetic_benchmark.table import render as render_benchmark
from training.atomic_write import write_json
from training.config import ConfigError, RunConfig, faults_in, read_config
from training.data.frames.frame_cache import FrameCache
from training.data.frames.shards.errors import ShardError
from training.data.frames.shards.pack import pack as pack_shards
from training.data.frames.shards.store import read_packed_manifest
from training.data.leakage import SUSPICIOUS_AUC, drop_features, leakage_report, most_telling
from training.data.leakage import render as render_leakage
from training.data.leakage import warnings as leakage_warnings
from training.data.loading.read_ahead import WorkerDied
from training.data.manifest_io import read_manifest, write_manifest
from training.data.synthetic import generate
from training.data.validation import ManifestError, require_classes, require_sound, validate
from training.distillation.registry import METHODS
from training.experiment.fusion import compare_fusions
from training.experiment.plan import DEFAULT_METHODS, ExperimentPlan, Workplace, plan_trials
from training.experiment.run import run as run_experiment
from training.fitting.checkpoint import CheckpointError
from training.fitting.operation import Operation
from training.fitting.processes import close, world
from training.models.weights.install import PretrainedError
from training.models.weights.sources import require_usable
from training.report.build import build_report
from training.report.markdown import render
from training.teachers.soft_targets import SoftTargetsError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

ManifestPath = Annotated[Path, typer.Option(help="A manifest: a folder with manifest.json and its rows.")]
Out = Annotated[Path, typer.Option(help="Where the result goes.")]


class Tracker(StrEnum):
    """Of ``--track``."""

    TENSORBOARD = "tensorboard"


_EXPECTED = (
    ConfigError,
    ManifestError,
    CheckpointError,
    PretrainedError,
    SoftTargetsError,
    ShardError,
    WorkerDied,
    BrokenProcessPool,
    ContractError,
    OSError,
    ValueError,
)


def _print(document: Any) -> None:
    typer.echo(json.dumps(document, indent=1))


@app.command()
def build_manifest(
    data: Annotated[Path, typer.Option(help="The folder that holds fights/, aerial/, clickbait/ and trending/.")],
    out: Out,
    max_clickbait_train: Annotated[int | None, typer.Option(help="Keep this many of T3's training titles.")] = None,
) -> None:
    """Builds the default four-task manifest: `python -m training build-manifest --data DATA --out data/default`."""
    manifest = build_default(data, max_clickbait_train=max_clickbait_train, seed=0)
    write_manifest(manifest, out)
    _print({"manifest": str(out), "digest": manifest.digest(), "rows": len(manifest.rows)})


@app.command()
def make_synthetic(
    out: Out,
    clips: Annotated[int, typer.Option(min=16)] = 96,
    titles: Annotated[int, typer.Option(min=12)] = 240,
    seed: int = 0,
) -> None:
    """Generates small clips, titles and privileged features: `python -m training make-synthetic --out data/toy`."""
    manifest = generate(out, clips=clips, titles=titles, seed=seed)
    _print({"manifest": str(out), "digest": manifest.digest(), "rows": len(manifest.rows)})


@app.command(name="validate")
def validate_manifest(manifest: ManifestPath) -> None:
    """Names the file, row and column of every fault; exit 1 if one of them is an error."""
    faults = validate(read_manifest(manifest), check_media=True)
    _print([vars(fault) for fault in faults])
    if any(fault.severity == "error" for fault in faults):
        raise typer.Exit(1)


@app.command()
def leakage(
    manifest: ManifestPath,
    fold: Annotated[int | None, typer.Option(help="The test fold left out; 0 where the manifest has folds.")] = None,
    threshold: Annotated[float, typer.Option(min=0.5, max=1.0, help="Warn above this AUC.")] = SUSPICIOUS_AUC,
    drop_top: Annotated[int, typer.Option(min=0, help="Write a manifest without the first N of every flag.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Where the manifest of --drop-top goes.")] = None,
) -> None:
    """Ranks privileged features by how well each alone tells the flag, on training rows; the table goes to stderr.

    `python -m training leakage --manifest data/default --drop-top 2 --out data/default-less`
    """
    if (drop_top > 0) != (out is not None):
        raise typer.BadParameter("--drop-top and --out go together")
    dataset = read_manifest(manifest)
    report = leakage_report(dataset, 0 if fold is None and dataset.folds else fold, threshold=threshold)
    typer.echo(render_leakage(report), err=True)
    for warning in leakage_warnings(report):
        logging.getLogger("training").warning("%s", warning)
    dropped = most_telling(report, drop_top)
    if out is not None:
        write_manifest(drop_features(dataset, dropped), out)
    _print(report.model_dump(mode="json") | {"dropped": [f"{group}.{feature}" for group, feature in dropped]})


@app.command()
def pack(
    manifest: ManifestPath,
    out: Annotated[str, typer.Option(help="A folder, or a URL such as s3://bucket/shards (with s3fs installed).")],
    rows_per_shard: Annotated[int, typer.Option(min=1, help="Rows of the manifest in each shard.")] = 512,
    config: Annotated[Path, typer.Option(help="A preset: its input spec says which frames.")] = Path(
        "configs/micro.yaml"
    ),
    cache: Annotated[Path, typer.Option(help="Where decoded frames are kept.")] = Path(".cache/frames"),
    workers: Annotated[int, typer.Option(min=1, help="Processes that decode.")] = 1,
    format: Annotated[Literal["parquet"], typer.Option(help="Of the shards.")] = "parquet",
) -> None:
    """Decodes every clip once and writes rows and frames as shards, for `run --shards`.

    `python -m training pack --manifest data/default --out data/default-shards`
    """
    if out.startswith("memory://"):
        raise typer.BadParameter("memory:// ends with this process: name a place that stays", param_hint="--out")
    dataset = read_manifest(manifest)
    require_sound(dataset)
    spec = read_config(config).input_spec
    clips = [row for row in dataset.rows if row.video is not None]
    frames = FrameCache.build(clips, dataset.video_path, spec, DecodeLimits(), cache, workers=workers)
    index = pack_shards(dataset, frames, out, rows_per_shard=rows_per_shard)
    totals = {"clips": sum(s.clips for s in index.shards), "bytes": sum(s.bytes for s in index.shards)}
    _print(
        {"shards": out, "format": format, "index": index.digest(), "count": len(index.shards), "rows": index.rows}
        | totals
        | {"failed": index.failed}
    )


@app.command()
def run(
    out: Out,
    manifest: Annotated[
        Path | None, typer.Option(help="A folder with manifest.json and its rows; without it, the shards' own.")
    ] = None,
    config: Annotated[Path, typer.Option(help="A preset.")] = Path("configs/micro.yaml"),
    vocabulary: Annotated[
        Path | None, typer.Option(help="A BERT vocab.txt; without it WordPiece is learned from the training texts.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds; each takes the next fold.")] = 4,
    seed: Annotated[int | None, typer.Option(min=0, help="Run this one seed only.")] = None,
    cache: Annotated[Path, typer.Option(help="Where decoded frames are kept.")] = Path(".cache/frames"),
    jobs: Annotated[int, typer.Option(min=1, help="Trials at a time.")] = 1,
    shards: Annotated[
        str | None, typer.Option(help="Folder or URL that `pack` wrote: frames are read there, not decoded.")
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read batches ahead, for each job.")] = 0,
    methods: Annotated[
        str, typer.Option(help=f"What is compared, by commas. There are: {', '.join(METHODS)}.")
    ] = ",".join(DEFAULT_METHODS),
    drop_top_privileged: Annotated[
        int | None, typer.Option(min=0, help="Leave out the N privileged features that tell each flag best alone.")
    ] = None,
    gradient_checkpointing: Annotated[
        bool, typer.Option("--gradient-checkpointing", help="Less memory, more computing; the same weights.")
    ] = False,
    save_every_steps: Annotated[
        int | None, typer.Option(min=1, help="Save the state to resume from that often, not at epochs' ends alone.")
    ] = None,
    validate_epochs: Annotated[
        bool, typer.Option("--validate-epochs", help="Record the validation PR-AUC of every epoch.")
    ] = False,
    track: Annotated[Tracker | None, typer.Option(help="Where to show losses while they come in.")] = None,
    log_dir: Annotated[Path | None, typer.Option(help="Of the tracker; else in each checkpoint's folder.")] = None,
) -> None:
    """Trains the teachers that the methods need, and a student by each method, over seeds; resumes where it was.

    `python -m training run --manifest data/default --out runs/default --jobs 2`

    On several processes: `torchrun --nproc-per-node 2 -m training run --manifest data/default --out runs/default`
    """
    if manifest is None and shards is None:
        raise typer.BadParameter("give --manifest, --shards or both")
    operation = Operation(
        gradient_checkpointing=gradient_checkpointing,
        save_every_steps=save_every_steps,
        validate_epochs=validate_epochs,
        track=None if track is None else track.value,
        log_dir=log_dir,
    )
    dataset = read_packed_manifest(shards or "", cache=cache) if manifest is None else read_manifest(manifest)
    require_sound(dataset, clips_at_hand=shards is None)
    trials = plan_trials(dataset, seeds) if seed is None else (plan_trials(dataset, seed + 1)[seed],)
    require_classes(dataset, [trial.test_fold for trial in trials])
    plan = ExperimentPlan(
        trials=trials,
        methods=tuple(name.strip() for name in methods.split(",")),
        config=_without_top(read_config(config), drop_top_privileged),
        manifest_digest=dataset.digest(),
    )
    if not world().is_main_process:
        logging.getLogger().setLevel(logging.WARNING)
    run_experiment(dataset, plan, Workplace(out, cache, vocabulary, shards, workers), jobs=jobs, operation=operation)
    if world().is_main_process:
        _print({"out": str(out), "trials": [trial.name for trial in trials]})


@app.command()
def fusion(
    manifest: ManifestPath,
    out: Out,
    config: Annotated[Path, typer.Option(help="A preset.")] = Path("configs/micro.yaml"),
    vocabulary: Annotated[Path | None, typer.Option(help="A BERT vocab.txt, as for `run`.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds; each takes the next fold.")] = 2,
    cache: Annotated[Path, typer.Option(help="Where decoded frames are kept.")] = Path(".cache/frames"),
) -> None:
    """Trains a teacher of each fusion on every trial and compares them on validation rows; writes fusion.json.

    `python -m training fusion --manifest data/default --out runs/fusion --seeds 2`
    """
    dataset = read_manifest(manifest)
    require_sound(dataset)
    settings = read_config(config)
    require_usable(settings, vocabulary)
    plan = ExperimentPlan(trials=plan_trials(dataset, seeds), config=settings, manifest_digest=dataset.digest())
    require_classes(dataset, [trial.test_fold for trial in plan.trials])
    document = compare_fusions(dataset, plan, Workplace(out, cache, vocabulary))
    write_json(out / "fusion.json", document)
    _print(document)


@app.command()
def report(
    manifest: ManifestPath,
    runs: Annotated[Path, typer.Option(help="The folder that `run` wrote.")],
    replicates: Annotated[int, typer.Option(min=100, help="Bootstrap replicates.")] = 1000,
) -> None:
    """Writes report.json, report.md and report.html: all methods beside their controls, with intervals."""
    from training.report.page import render_page  # Matplotlib takes long to import, and other commands need none

    dataset = read_manifest(manifest)
    document = build_report(runs, dataset, replicates=replicates)
    write_json(runs / "report.json", document)
    (runs / "report.md").write_text(render(document))
    page = runs / "report.html"
    page.write_text(render_page(document, dataset, runs, written_on=date.today()), encoding="utf-8")
    _print({"report": str(runs / "report.json"), "table": str(runs / "report.md"), "page": str(page)})


@app.command()
def synthetic_benchmark(
    out: Out,
    quick: Annotated[bool, typer.Option("--quick", help="12 seeds and 3 points of the curve.")] = False,
) -> None:
    """Checks every method where the answer is known: `python -m training synthetic-benchmark --out runs/synthetic`."""
    out.mkdir(parents=True, exist_ok=True)
    document = run_benchmark(quick=quick)
    write_json(out / "synthetic.json", document)
    (out / "synthetic.md").write_text(render_benchmark(document))
    held = [one["held"] for study in document["studies"].values() for one in study["expectations"]]
    _print({"table": str(out / "synthetic.md"), "expectations": len(held), "held": sum(held)})


app.command()(benchmark)


def _without_top(config: RunConfig, top: int | None) -> RunConfig:
    teacher = config.teacher if top is None else config.teacher.model_copy(update={"drop_top": top})
    return config.model_copy(update={"teacher": teacher})


def main() -> None:
    """Runs a command; an expected failure is one line on stderr and exit 1."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s")
    try:
        app()
    except _EXPECTED as error:
        message = faults_in(error) if isinstance(error, ValidationError) else error
        logging.getLogger("training").error("%s", message)
        raise SystemExit(1) from error
    finally:
        close()


if __name__ == "__main__":
    main()
