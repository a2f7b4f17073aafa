"""``python -m training ablation``: what each part of the student is worth, in one run that can be resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recipes.ablation.results import ablation_document, render
from recipes.ablation.rows import read_table, row_config
from recipes.ablation.schedule import plan_rows, train_rows
from recipes.benchmark.sizes import reduced
from training.atomic_write import replace_text, write_json
from training.commands.options import ManifestPath, Out, print_result
from training.data.manifest_io import read_manifest
from training.data.validation import require_classes, require_sound
from training.experiment.plan import Trial, plan_trials


def ablation(
    manifest: ManifestPath,
    out: Out,
    table: Annotated[Path, typer.Option(help="The rows; presets lie beside it.")] = Path("configs/ablation.yaml"),
    folds: Annotated[str, typer.Option(help="Which folds are tested on, by commas, all with one seed.")] = "0",
    seed: Annotated[int, typer.Option(min=0, help="Of every row and fold.")] = 0,
    max_rows: Annotated[
        int | None, typer.Option(min=8, help="Keep at most so many rows of each task in each fold or split.")
    ] = None,
    vocabulary: Annotated[
        Path | None, typer.Option(help="A BERT vocab.txt for rows that start from no weights; else one is learned.")
    ] = None,
    cache: Annotated[Path, typer.Option(help="Where decoded frames are kept.")] = Path(".cache/frames"),
    jobs: Annotated[int, typer.Option(min=1, help="Processes that decode and run frozen encoders.")] = 1,
    replicates: Annotated[int, typer.Option(min=100, help="Of the bootstrap.")] = 1000,
) -> None:
    """Trains every row of the table of settings and writes ablation.json and ablation.md; resumes where it was.

    `python -m training ablation --manifest data/default --out runs/ablation --folds 0,1`
    """
    dataset = read_manifest(manifest)
    require_sound(dataset)
    dataset = reduced(dataset, max_rows)
    rows = [(row, row_config(row, table.parent)) for row in read_table(table).rows]
    if dataset.folds:
        trials = tuple(Trial(seed=seed, test_fold=int(fold)) for fold in folds.split(","))
    else:
        trials = plan_trials(dataset, seed + 1)[seed:]
    require_classes(dataset, [trial.test_fold for trial in trials])
    planned = plan_rows(rows, out)
    train_rows(dataset, planned, trials, cache, vocabulary, jobs)
    document = ablation_document(dataset, planned, trials, replicates=replicates)
    write_json(out / "ablation.json", document)
    replace_text(out / "ablation.md", render(document))
    print_result({"written": [str(out / "ablation.json"), str(out / "ablation.md")]})
