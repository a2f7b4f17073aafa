"""Commands about rows: generate, validate, rank their privileged features, pack them into shards."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

import typer

from contract.video import DecodeLimits
from training.commands.options import ManifestPath, Out, print_result
from training.config import read_config
from training.data.frames.frame_cache import FrameCache
from training.data.frames.shards.pack import pack as pack_shards
from training.data.leakage import SUSPICIOUS_AUC, drop_features, leakage_report, most_telling
from training.data.leakage import render as render_leakage
from training.data.leakage import warnings as leakage_warnings
from training.data.manifest_io import read_manifest, write_manifest
from training.data.synthetic import generate
from training.data.validation import require_sound, validate


def make_synthetic(
    out: Out,
    clips: Annotated[int, typer.Option(min=16)] = 96,
    titles: Annotated[int, typer.Option(min=12)] = 240,
    seed: int = 0,
) -> None:
    """Generates small clips, titles and privileged features: `python -m training make-synthetic --out data/toy`."""
    manifest = generate(out, clips=clips, titles=titles, seed=seed)
    print_result({"manifest": str(out), "digest": manifest.digest(), "rows": len(manifest.rows)})


def validate_manifest(manifest: ManifestPath) -> None:
    """Names the file, row and column of every fault; exit 1 if one of them is an error."""
    faults = validate(read_manifest(manifest), check_media=True)
    print_result([vars(fault) for fault in faults])
    if any(fault.severity == "error" for fault in faults):
        raise typer.Exit(1)


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
    print_result(report.model_dump(mode="json") | {"dropped": [f"{group}.{feature}" for group, feature in dropped]})


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
    print_result(
        {"shards": out, "format": format, "index": index.digest(), "count": len(index.shards), "rows": index.rows}
        | totals
        | {"failed": index.failed}
    )
