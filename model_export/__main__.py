"""Exports a checkpoint, measures a bundle's reference, scores rows with a bundle.

JSON on stdout; exit 0 done, 1 failed, 2 bad usage. What a command needs is imported when it is called.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from pydantic import ValidationError

from contract.errors import ContractError
from model_export.errors import ExportError
from training.config import faults_in
from training.errors import TrainingError

if TYPE_CHECKING:
    from contract.bundle import Bundle
    from training.data.manifest import Manifest

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)

Cache = Annotated[Path, typer.Option(help="Where decoded frames are kept.")]
Workers = Annotated[int, typer.Option(min=1, help="Decoding processes.")]
_EXPECTED = (ExportError, TrainingError, ContractError, OSError, ValueError)


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Option(help="A student's or baseline's checkpoint folder.")],
    tokenizer: Annotated[Path, typer.Option(help="The tokenizer.json of its run.")],
    out: Annotated[Path, typer.Option(help="The bundle's folder; replaced only if the export succeeds.")],
    name: Annotated[str, typer.Option(help="The bundle's name.")],
    notes: Annotated[Path, typer.Option(help="YAML with the words of the model card.")],
    version: Annotated[str, typer.Option(help="The bundle's version, X.Y.Z.")] = "1.0.0",
    report: Annotated[Path | None, typer.Option(help="report.json of the experiment.")] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="The checkpoint's manifest: rows it has not seen become the bundle's reference.")
    ] = None,
    max_overkill: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="A task that flags more of the held-out negatives is not served; else half."),
    ] = None,
    serve_useless: Annotated[
        bool, typer.Option("--serve-useless", help="Serve such tasks all the same: for toy data, never for traffic.")
    ] = False,
    all_tasks: Annotated[
        bool, typer.Option("--all-tasks", help="Refuse the export where a task is not good enough to be served.")
    ] = False,
    cache: Cache = Path(".cache/frames"),
    workers: Workers = 1,
) -> None:
    """Checkpoint to verified bundle; the word `export` may be left out.

    `python -m model_export --checkpoint runs/default/final/cpfd --tokenizer runs/default/tokenizer.json
    --name cpfd-student --notes configs/default_card.yaml --report runs/default/report.json --out bundles/cpfd-student`
    """
    from model_export.model_card import read_notes
    from model_export.reference import reference_of, require_reference
    from model_export.write_bundle import BundleRequest, add_reference, write_bundle
    from training.data.manifest_io import read_manifest
    from training.evaluation.shipping import MAX_OVERKILL
    from training.fitting.checkpoint import read_card

    card = read_card(checkpoint)
    rows = None if manifest is None else read_manifest(manifest)
    if rows is not None and rows.digest() != card.manifest_digest:
        raise ExportError(f"{manifest}: not the manifest that the checkpoint was trained on")
    if rows is not None:
        require_reference(checkpoint, rows)
    document = None if report is None else _read_report(report)
    overkill = MAX_OVERKILL if max_overkill is None else max_overkill
    words = read_notes(notes)
    if words.unwritten:
        typer.echo(f"{notes}: still to be written, and in the card as it is: {', '.join(words.unwritten)}", err=True)
    request = BundleRequest(name, version, words, document, overkill, serve_useless, all_tasks)
    bundle = write_bundle(checkpoint, tokenizer, out, request)
    if rows is not None:
        bundle = add_reference(out, reference_of(bundle, checkpoint, rows, cache, workers))
    unserved = {n: one.unserved for n, one in bundle.manifest.policy.tasks.items() if one.unserved is not None}
    _print(bundle, {"parity_max_abs_difference": bundle.manifest.parity_max_abs_difference, "unserved": unserved})


@app.command()
def reference(
    bundle: Annotated[Path, typer.Option(help="The bundle's folder; it gets a reference.json and another digest.")],
    manifest: Annotated[Path, typer.Option(help="Whose held-out rows are scored; they need no labels.")],
    split: Annotated[Literal["train", "val", "test"], typer.Option(help="Which rows.")] = "val",
    fold: Annotated[int | None, typer.Option(help="The test fold; the one that the bundle left out, else 0.")] = None,
    cache: Cache = Path(".cache/frames"),
    workers: Workers = 1,
) -> None:
    """Measures the distribution of a bundle's scores on held-out rows, which drift is then measured against.

    `python -m model_export reference --bundle my-bundles/mine --manifest data/yesterday --split test`
    """
    from contract.bundle import read_bundle
    from model_export.reference import HeldOut, measure_reference
    from model_export.write_bundle import add_reference
    from training.data.manifest_io import read_manifest

    rows, opened = read_manifest(manifest), read_bundle(bundle)
    origin = opened.manifest.provenance
    if origin.manifest_digest == rows.digest() and rows.folds and origin.every_fold_seen:
        raise ExportError(f"{bundle}: trained on every fold of this manifest: its reference is made at the export")
    held_out = HeldOut(split, _test_fold(opened, rows, fold), workers)
    _print(add_reference(bundle, measure_reference(opened, rows, cache, held_out)), {})


@app.command()
def score(
    bundle: Annotated[Path, typer.Option(help="The bundle's folder.")],
    manifest: Annotated[Path, typer.Option(help="Labelled rows: of the bundle's training, or any others.")],
    out: Annotated[Path, typer.Option(help="Folder of scores.json, scores.csv and mistakes.html.")],
    split: Annotated[Literal["train", "val", "test", "all"], typer.Option(help="Which rows.")] = "test",
    fold: Annotated[int | None, typer.Option(help="The test fold; the one that the bundle left out, else 0.")] = None,
    worst: Annotated[int, typer.Option(min=1, max=100, help="Misses and false alarms shown of each task.")] = 24,
    cache: Cache = Path(".cache/frames"),
    workers: Workers = 1,
) -> None:
    """Scores labelled rows as a service would, and shows the worst mistakes with their pictures.

    `python -m model_export score --bundle my-bundles/mine --manifest data/mine --out runs/mine-scores`
    """
    from contract.bundle import read_bundle
    from model_export.scoring.files import PAGE, SCORES_CSV, SCORES_JSON, write_scores
    from model_export.scoring.scored_rows import score_rows
    from training.data.manifest_io import read_manifest

    rows, opened = read_manifest(manifest), read_bundle(bundle)
    test_fold = _test_fold(opened, rows, fold)
    found = score_rows(opened, rows, cache, split, test_fold, workers=workers)
    document = write_scores(found, opened, rows, out, worst)
    told = {name: {k: v for k, v in task.items() if k != "slices"} for name, task in document["tasks"].items()}
    files = {"page": str(out / PAGE), "scores": str(out / SCORES_JSON), "table": str(out / SCORES_CSV)}
    typer.echo(json.dumps(document | {"tasks": told} | files, indent=1))


def _test_fold(bundle: Bundle, manifest: Manifest, given: int | None) -> int | None:
    """The fold that counts as test: the one given; else the one that the bundle left out of this manifest; else 0."""
    if given is not None or not manifest.folds:
        return given
    origin = bundle.manifest.provenance
    return (origin.test_fold or 0) if origin.manifest_digest == manifest.digest() else 0


def _read_report(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except OSError as error:
        raise ExportError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ExportError(f"{path}: not JSON: {error}") from error
    if not isinstance(document, dict) or not {"manifest", "config_digest", "trials", "tasks"} <= set(document):
        raise ExportError(f"{path}: not a report that `python -m training report` wrote")
    return document


def _print(bundle: Bundle, more: dict[str, Any]) -> None:
    answer: dict[str, Any] = {"bundle": str(bundle.directory), "digest": bundle.digest}
    answer["bytes"] = sum(file.stat().st_size for file in bundle.directory.iterdir())
    if bundle.reference is not None:
        answer["reference_rows"] = {task: histogram.rows for task, histogram in bundle.reference.tasks.items()}
    typer.echo(json.dumps(answer | more, indent=1))


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs a command; an expected failure is one line on stderr and exit 1."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    # It names operators of libraries that are not used here; torch sets the levels of its parents anew.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message="# The axis name", category=UserWarning)
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0].startswith("--") and given[0] != "--help":
        given.insert(0, "export")
    try:
        app(given)
    except _EXPECTED as error:
        message = faults_in(error) if isinstance(error, ValidationError) else error
        logging.getLogger("model_export").error("%s", message)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
