"""The command that computes a costly encoder's embeddings as a privileged group."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from training.atomic_write import write_json
from training.commands.options import ManifestPath, Out, print_result
from training.config import read_config
from training.data.manifest_io import read_manifest, write_manifest
from training.data.validation import require_sound
from training.teachers.costly_embeddings import CostlyInput, embed_clips, read_encoder, with_embeddings


def privileged_embeddings(
    manifest: ManifestPath,
    out: Out,
    config: Annotated[Path, typer.Option(help="A preset with a pretrained backbone.")] = Path("configs/lite0.yaml"),
    name: Annotated[str, typer.Option(help="Of the privileged group.")] = "costly",
    frames: Annotated[int, typer.Option(min=2, max=64, help="Read of each clip.")] = 24,
    frame_size: Annotated[int, typer.Option(min=32, max=512, help="Pixels of a frame's side.")] = 224,
    components: Annotated[int, typer.Option(min=1, help="Features that are kept.")] = 64,
    workers: Annotated[int, typer.Option(min=1, help="Decoding processes.")] = 1,
) -> None:
    """Runs a costly encoder over every clip and writes a manifest with its embeddings as a privileged group; resumes.

    `python -m training privileged-embeddings --manifest data/mine --config configs/lite0.yaml --out data/mine-costly`
    """
    dataset = read_manifest(manifest)
    require_sound(dataset)
    encoder = read_encoder(read_config(config), dataset, CostlyInput(frames, frame_size))
    embeddings, failed = embed_clips(encoder, dataset, out / "embeddings", workers=workers)
    widened, record = with_embeddings(dataset, name, embeddings, components)
    write_manifest(widened, out)
    digests = {"from_manifest": dataset.digest(), "manifest": widened.digest(), "identity": encoder.identity}
    document: dict[str, Any] = encoder.provenance | record | {"failed": failed} | digests
    write_json(out / f"{name}.json", document)
    print_result({"manifest": str(out), "provenance": str(out / f"{name}.json")} | document)
