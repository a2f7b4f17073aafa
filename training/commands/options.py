"""Options that several commands share, and how a command prints its result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

ManifestPath = Annotated[Path, typer.Option(help="A manifest: a folder with manifest.json and its rows.")]
Out = Annotated[Path, typer.Option(help="Where the result goes.")]


def print_result(document: Any) -> None:
    """Prints a command's result as JSON on stdout."""
    typer.echo(json.dumps(document, indent=1))
