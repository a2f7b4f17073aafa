"""``python -m training build-manifest``: the default four-task manifest from the development data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recipes.demonstration.four_tasks import build_default
from training.commands.options import Out, print_result
from training.data.manifest_io import write_manifest


def build_manifest(
    data: Annotated[Path, typer.Option(help="The folder that holds fights/, aerial/, clickbait/ and trending/.")],
    out: Out,
    max_clickbait_train: Annotated[int | None, typer.Option(help="Keep this many of T3's training titles.")] = None,
) -> None:
    """Builds the default four-task manifest: `python -m training build-manifest --data DATA --out data/default`."""
    manifest = build_default(data, max_clickbait_train=max_clickbait_train, seed=0)
    write_manifest(manifest, out)
    print_result({"manifest": str(out), "digest": manifest.digest(), "rows": len(manifest.rows)})
