"""``python -m training long-clips``: are two seconds found in sixteen, and pointed at?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from recipes.long_clips.composition import LongClipSettings
from recipes.long_clips.scores import judged, summary
from training.atomic_write import write_json
from training.commands.options import ManifestPath, print_result
from training.data.manifest_io import read_manifest
from training.experiment.plan import read_plan
from training.experiment.rounds import SELECTION_FOLDER


def long_clips(
    manifest: ManifestPath,
    runs: Annotated[Path, typer.Option(help="The folder that `run` wrote.")],
    task: Annotated[str, typer.Option(help="A yes-or-no task of clips alone.")] = "violence",
    methods: Annotated[str | None, typer.Option(help="By commas; all that were trained by default.")] = None,
    cache: Annotated[Path, typer.Option(help="Where the trunk's output is kept.")] = Path(".cache/frames"),
    out: Annotated[Path | None, typer.Option(help="A JSON file for the result.")] = None,
    length_s: Annotated[float, typer.Option(help="Of a composed clip, in seconds.")] = LongClipSettings().length_s,
    draws: Annotated[int, typer.Option(min=1, help="Pairs around each positive clip.")] = LongClipSettings().draws,
    replicates: Annotated[int, typer.Option(min=100, help="Of the bootstrap.")] = 1000,
    validation: Annotated[
        bool, typer.Option("--validation", help="Of validation folds, for choosing: no test clip is looked at.")
    ] = False,
) -> None:
    """Composes long clips of each fold's own short ones and says whether students find and point at what is sought.

    `python -m training long-clips --manifest data/default --runs runs/default`
    """
    dataset = read_manifest(manifest)
    plan = read_plan(runs, dataset)
    spec = next((one for one in dataset.tasks if one.name == task), None)
    if spec is None:
        raise typer.BadParameter(f"{task} is no task of the manifest", param_hint="--task")
    names = plan.methods if methods is None else tuple(name.strip() for name in methods.split(","))
    if unknown := sorted(set(names) - set(plan.methods)):
        raise typer.BadParameter(f"{', '.join(unknown)} was not trained in {runs}", param_hint="--methods")
    settings = LongClipSettings(length_s=length_s, draws=draws)
    part: Literal["test", "val"] = "val" if validation else "test"
    found = {}
    for name in names:
        # Validation rows were training rows of a refit, so that its selection is looked at.
        inside = SELECTION_FOLDER if validation and plan.config.optimiser.refit else ""
        homes = {trial: runs / trial.name / inside / name for trial in plan.trials}
        trials = [judged(dataset, trial, home, spec, settings, cache, part) for trial, home in homes.items()]
        found[name] = summary(trials, replicates=replicates)
    document = {
        "task": task,
        "part": part,
        "trials": [trial.name for trial in plan.trials],
        "settings": settings.model_dump(mode="json"),
        "methods": found,
    }
    if out is not None:
        write_json(out, document)
    print_result(document)
