"""Commands about experiments: run one, compare fusions of the teacher, move operating points, write the report."""

from __future__ import annotations

import logging
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from contract.decision import POINT_KINDS, OperatingPoint
from training.atomic_write import write_json
from training.commands.options import ManifestPath, Out, print_result
from training.config import RunConfig, faults_in, read_config
from training.data.frames.shards.store import read_packed_manifest
from training.data.manifest_io import read_manifest
from training.data.validation import require_classes, require_sound
from training.distillation.registry import METHODS
from training.experiment.final import train_final
from training.experiment.fusion import compare_fusions
from training.experiment.plan import DEFAULT_METHODS, ExperimentPlan, Workplace, plan_trials, read_plan
from training.experiment.repoint import point_back
from training.experiment.repoint import repoint as repoint_experiment
from training.experiment.run import run as run_experiment
from training.fitting.operation import Operation
from training.fitting.processes import world
from training.models.weights.sources import require_usable
from training.report.build import build_report, require_finished
from training.report.markdown import render

_LOG = logging.getLogger(__name__)


class Tracker(StrEnum):
    """Of ``--track``."""

    TENSORBOARD = "tensorboard"


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
    elif not dataset.privileged_groups:
        _LOG.warning("no privileged features: teachers read what students read, and `--methods ce` is enough")
    run_experiment(dataset, plan, Workplace(out, cache, vocabulary, shards, workers), jobs=jobs, operation=operation)
    if world().is_main_process:
        print_result({"out": str(out), "trials": [trial.name for trial in trials]})


def final(
    manifest: ManifestPath,
    runs: Annotated[Path, typer.Option(help="The folder that `run` wrote, all its trials finished.")],
    cache: Annotated[Path, typer.Option(help="Where decoded frames are kept.")] = Path(".cache/frames"),
    shards: Annotated[str | None, typer.Option(help="As for `run`.")] = None,
) -> None:
    """Trains the recipe of a finished experiment once more, on the rows of every fold: what is shipped; resumes.

    `python -m training final --manifest data/default --runs runs/default`
    """
    dataset = read_manifest(manifest)
    require_sound(dataset, clips_at_hand=shards is None)
    plan = read_plan(runs, dataset)
    require_finished(runs, plan)
    if not world().is_main_process:
        logging.getLogger().setLevel(logging.WARNING)
    home = train_final(dataset, plan, Workplace(runs, cache, None, shards))
    if world().is_main_process:
        print_result({"out": str(home), "methods": list(plan.methods)})


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
    print_result(document)


def repoint(
    manifest: ManifestPath,
    runs: Annotated[Path, typer.Option(help="The folder that `run` wrote, all its trials finished.")],
    point: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TASK=KIND[:VALUE]",
            help=f"What a task's threshold is chosen for; may be repeated. Kinds: {', '.join(POINT_KINDS)}.",
        ),
    ] = None,
    back: Annotated[bool, typer.Option("--back", help="Take the training's own thresholds again.")] = False,
) -> None:
    """Fits the thresholds of a finished experiment anew for other operating points, and trains nothing.

    `python -m training repoint --manifest data/mine --runs runs/mine --point violence=cost_ratio:5`

    Tasks that are not named go back to the preset's point. Then `report` and the export, as after a training.
    """
    if bool(point) == back:
        raise typer.BadParameter("give --point TASK=KIND[:VALUE], or --back")
    dataset = read_manifest(manifest)
    plan = read_plan(runs, dataset)
    require_finished(runs, plan)
    if back:
        print_result(point_back(plan, runs))
    else:
        print_result(repoint_experiment(dataset, plan, runs, dict(_point(words) for words in point or ())))


def _point(words: str) -> tuple[str, OperatingPoint]:
    task, _, rest = words.partition("=")
    kind, _, value = rest.partition(":")
    try:
        return task, OperatingPoint.model_validate({"kind": kind, "value": value or None})
    except ValidationError as error:
        raise typer.BadParameter(f"--point {words}: {faults_in(error)}") from error


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
    print_result({"report": str(runs / "report.json"), "table": str(runs / "report.md"), "page": str(page)})


def _without_top(config: RunConfig, top: int | None) -> RunConfig:
    teacher = config.teacher if top is None else config.teacher.model_copy(update={"drop_top": top})
    return config.model_copy(update={"teacher": teacher})
