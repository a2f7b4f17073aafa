"""Exports one checkpoint: ``python -m model_export --help``. JSON on stdout; exit 0 done, 1 failed, 2 bad usage."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer

from contract.errors import ContractError
from model_export.errors import ExportError
from model_export.model_card import read_notes
from model_export.write_bundle import BundleRequest, write_bundle
from training.checkpoint import CheckpointError


def export(
    checkpoint: Annotated[Path, typer.Option(help="A student's or baseline's checkpoint folder.")],
    tokenizer: Annotated[Path, typer.Option(help="The tokenizer.json of its run.")],
    out: Annotated[Path, typer.Option(help="The bundle's folder; replaced only if the export succeeds.")],
    name: Annotated[str, typer.Option(help="The bundle's name.")],
    notes: Annotated[Path, typer.Option(help="YAML with the words of the model card.")],
    version: Annotated[str, typer.Option(help="The bundle's version, X.Y.Z.")] = "1.0.0",
    report: Annotated[Path | None, typer.Option(help="report.json of the experiment.")] = None,
) -> None:
    """Checkpoint to verified bundle.

    `python -m model_export --checkpoint runs/default/seed0-fold0/cpfd --tokenizer runs/default/tokenizer.json
    --name cpfd-student --notes configs/default_card.yaml --report runs/default/report.json --out bundles/cpfd-student`
    """
    found = None if report is None else json.loads(report.read_text())
    bundle = write_bundle(checkpoint, tokenizer, out, BundleRequest(name, version, read_notes(notes), found))
    size = sum(file.stat().st_size for file in out.iterdir())
    typer.echo(
        json.dumps(
            {
                "bundle": str(out),
                "digest": bundle.digest,
                "bytes": size,
                "parity_max_abs_difference": bundle.manifest.parity_max_abs_difference,
            },
            indent=1,
        )
    )


def main() -> None:
    """Runs the export; an expected failure is one line on stderr and exit 1."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it names operators of libraries that are not used here
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    warnings.filterwarnings("ignore", message="# The axis name", category=UserWarning)
    try:
        typer.run(export)
    except (ExportError, CheckpointError, ContractError, OSError, ValueError) as error:
        logging.getLogger("model_export").error("%s", error)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
