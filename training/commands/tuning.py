"""The command that searches for settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from training.commands.options import ManifestPath, Out, print_result
from training.config import read_config
from training.data.manifest_io import read_manifest
from training.data.validation import require_classes, require_sound
from training.experiment.plan import ExperimentPlan, Workplace, plan_trials
from training.experiment.tune import read_space
from training.experiment.tune import tune as search
from training.models.weights.sources import require_usable


def tune(
    manifest: ManifestPath,
    out: Out,
    config: Annotated[Path, typer.Option(help="A preset: what is not tuned.")] = Path("configs/lite0.yaml"),
    space: Annotated[Path, typer.Option(help="What is tuned.")] = Path("configs/tune.yaml"),
    budget: Annotated[int, typer.Option(min=1, help="How many tries, those of earlier calls counted in.")] = 12,
    method: Annotated[str, typer.Option(help="Of the students that are tried.")] = "cpfd",
    seeds: Annotated[int, typer.Option(min=1, help="Of each try; each takes the next fold.")] = 1,
    search_seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
    vocabulary: Annotated[Path | None, typer.Option(help="A BERT vocab.txt, as for `run`.")] = None,
    cache: Annotated[Path, typer.Option(help="Where decoded frames are kept.")] = Path(".cache/frames"),
) -> None:
    """Tries settings on validation rows and writes the best: learning rate, lambda, temperature; resumes.

    `python -m training tune --manifest data/default --out runs/tune --budget 12`
    """
    dataset = read_manifest(manifest)
    require_sound(dataset)
    settings = read_config(config)
    require_usable(settings, vocabulary)
    trials = plan_trials(dataset, seeds)
    require_classes(dataset, [trial.test_fold for trial in trials])
    plan = ExperimentPlan(trials=trials, methods=(method,), config=settings, manifest_digest=dataset.digest())
    document = search(
        dataset, plan, Workplace(out, cache, vocabulary), read_space(space), budget=budget, seed=search_seed
    )
    print_result({"best": document["best"], "written": [str(out / "tune.json"), str(out / "best.yaml")]})
