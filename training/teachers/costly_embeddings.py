"""Embeddings of a costly encoder as a privileged group: too dear at request time, and read by the teacher alone.

The encoder is a preset's frozen backbone on more frames and more pixels than a student reads. What is kept of a clip
is the mean of each channel and the mean absolute difference of neighbouring frames; both are standardised and turned
into a few components. Every clip's embedding is a file of its own, so that a killed run goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from contract.input_spec import BurstSpec, InputSpec
from contract.video import DecodeLimits
from training.atomic_write import replacing
from training.config import FeatureMap, MomentVisionConfig, RunConfig
from training.data.frames.frame_cache import FrameCache
from training.data.manifest import Manifest, PrivilegedGroup, Row
from training.models.moment_xvlm import MomentXVLM
from training.models.vision_trunk import VisionTrunk
from training.models.weights.encoders import load_encoders, module_digest
from training.models.weights.install import PretrainedError
from training.models.weights.sources import require_sources, source_digests

_LOG = logging.getLogger(__name__)
_STATISTICS: Final = ("mean", "motion_mean")
_CHUNK = 64
"""Clips whose decoded frames lie on disk at a time: 24 frames of 224 pixels are 3.6 MB each."""
_MIN_STD = 1e-6


@dataclass(frozen=True)
class CostlyInput:
    """What the encoder reads of a clip, and which of its maps count."""

    frames: int = 24
    frame_size: int = 224
    maps: tuple[FeatureMap, ...] = ("stride16", "stride32")

    @property
    def spec(self) -> InputSpec:
        return InputSpec(frames=self.frames, frame_size=self.frame_size)


@dataclass(frozen=True)
class CostlyEncoder:
    """A frozen backbone with its weights, and the SHA-256 of all that decides what it gives."""

    trunk: VisionTrunk
    given: CostlyInput
    identity: str
    provenance: dict[str, Any]

    @torch.no_grad()
    def embed(self, frames_TSSC: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(F,) float32 of one clip: means, then mean absolute differences of neighbouring frames, map by map.

        In one thread: threads of small convolutions wait for each other, on a busy machine for seconds.
        """
        moment_MPHWC = torch.from_numpy(np.ascontiguousarray(frames_TSSC))[None]
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return np.asarray(self.trunk.moments(moment_MPHWC)[0].float().numpy())
        finally:
            torch.set_num_threads(threads)


def read_encoder(config: RunConfig, manifest: Manifest, given: CostlyInput) -> CostlyEncoder:
    """The preset's backbone, with the weights that it names.

    Raises:
        PretrainedError: the preset has no pretrained backbone, or its weights are missing or altered.
    """
    vision, pretrained = config.model.vision, config.pretrained
    if not isinstance(vision, MomentVisionConfig) or pretrained is None or pretrained.vision is None:
        raise PretrainedError("the preset names no pretrained backbone (vision.backbone, pretrained.vision)")
    alone = pretrained.model_copy(update={"text": None})
    require_sources(alone)
    changes = {"maps": given.maps, "middle_maps": (), "statistics": _STATISTICS, "trainable_blocks": 0}
    changed = vision.model_copy(update=changes | {"map_statistics": {}, "task_statistics": {}, "task_pooling": {}})
    model_config = config.model.model_copy(update={"vision": changed})
    pair = InputSpec(frames=2, sampling="bursts", burst=BurstSpec(moments=1, pictures=2, step_ms=40))
    with torch.random.fork_rng(devices=[]):
        model = MomentXVLM(model_config, pair, manifest.tasks)
    load_encoders(model, alone, None)
    trunk = model.vision_encoder.trunk.eval()
    provenance = {
        "backbone": vision.backbone,
        "source": pretrained.vision.source,
        "licence": pretrained.vision.licence,
        "sha256": source_digests(alone).get("vision"),
        "maps": list(given.maps),
        "statistics": list(_STATISTICS),
        "frames": given.frames,
        "frame_size": given.frame_size,
    }
    return CostlyEncoder(trunk, given, _identity(trunk, provenance), provenance)


def embed_clips(
    encoder: CostlyEncoder, manifest: Manifest, directory: Path, *, workers: int = 1, progress: bool = True
) -> tuple[dict[str, Path], dict[str, int]]:
    """Row id -> its ``.npy`` of (F,) float32, and why other clips have none; clips that have one are not read again.

    Args:
        encoder: the costly one.
        manifest: whose clips.
        directory: where embeddings are kept, under the encoder's identity.
        workers: decoding processes.
        progress: show a bar where stderr is a terminal.
    """
    home = directory / encoder.identity[:16]
    home.mkdir(parents=True, exist_ok=True)
    clips = [row for row in manifest.rows if row.video is not None]
    files = {row.id: home / f"{_key(manifest, row)}.npy" for row in clips}
    missing = [row for row in clips if not files[row.id].is_file()]
    failed: dict[str, int] = {}
    bar = tqdm(total=len(missing), desc="embedding", unit="clip", disable=not (progress and sys.stderr.isatty()))
    for chunk in _chunks(missing):
        with tempfile.TemporaryDirectory(dir=directory, prefix=".frames-") as frames_home:
            cache = FrameCache.build(
                chunk,
                manifest.video_path,
                encoder.given.spec,
                DecodeLimits(),
                Path(frames_home),
                workers=workers,
                progress=False,
            )
            for row in chunk:
                if row.id in cache.files:
                    with replacing(files[row.id]) as partial, partial.open("wb") as file:
                        np.save(file, encoder.embed(cache.frames(row)), allow_pickle=False)
            for code, count in cache.failures.items():
                failed[code] = failed.get(code, 0) + count
        bar.update(len(chunk))
    bar.close()
    return {row_id: path for row_id, path in files.items() if path.is_file()}, failed


def with_embeddings(
    manifest: Manifest, name: str, embeddings: dict[str, Path], components: int
) -> tuple[Manifest, dict[str, Any]]:
    """The manifest with the components of its clips' embeddings as a privileged group, and how they were made.

    Means, deviations and components are fitted without labels, on train rows (on all fold rows, where there are folds).

    Raises:
        ValueError: the manifest has a group of that name, or too few clips have an embedding.
    """
    if any(group.name == name for group in manifest.privileged_groups):
        raise ValueError(f"{manifest.name} has a privileged group {name!r} already: give another --name")
    known = [row for row in manifest.rows if row.id in embeddings]
    fitted_on = [row for row in known if row.fold is not None or row.split == "train"]
    width = min(components, len(fitted_on) - 1)
    if width < 1:
        raise ValueError(f"{manifest.name}: {len(fitted_on)} train rows have an embedding, two or more are needed")
    read = {row.id: np.load(embeddings[row.id], allow_pickle=False).astype(np.float64) for row in known}
    values_NF = np.stack([read[row.id] for row in fitted_on])
    mean_F, std_F = values_NF.mean(axis=0), values_NF.std(axis=0)
    scale_F = np.divide(1.0, std_F, out=np.zeros_like(std_F), where=std_F > _MIN_STD)
    _, sizes, axes_KF = np.linalg.svd((values_NF - mean_F) * scale_F, full_matrices=False)
    axes_KF = axes_KF[:width]
    axes_KF *= np.sign(axes_KF[np.arange(width), np.abs(axes_KF).argmax(axis=1)])[:, None]  # the sign is a convention
    features = tuple(f"component{k:03d}" for k in range(width))
    rows = []
    for row in manifest.rows:
        if row.id in read:
            turned_K = axes_KF @ ((read[row.id] - mean_F) * scale_F)
            values: dict[str, float | None] = {n: float(f"{v:.6g}") for n, v in zip(features, turned_K, strict=True)}
            row = row.model_copy(update={"privileged": {**row.privileged, name: values}})
        rows.append(row)
    groups = (*manifest.privileged_groups, PrivilegedGroup(name=name, features=features))
    explained = float((sizes[:width] ** 2).sum() / max((sizes**2).sum(), 1e-12))
    record = {
        "group": name,
        "components": width,
        "explained": round(explained, 4),
        "fitted_on": "rows of all folds" if manifest.folds else "train rows",
        "clips": len(known),
    }
    return manifest.model_copy(update={"privileged_groups": groups, "rows": tuple(rows)}), record


def _identity(module: nn.Module, provenance: dict[str, Any]) -> str:
    decides = {key: provenance[key] for key in ("backbone", "maps", "statistics", "frames", "frame_size")}
    document = json.dumps(decides | {"weights": module_digest(module)}, sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest()


def _key(manifest: Manifest, row: Row) -> str:
    """Of a clip as it lies there, so that a changed one is embedded anew."""
    path = manifest.video_path(row)
    assert path is not None
    stat = path.stat() if path.is_file() else None
    seen = None if stat is None else (stat.st_size, stat.st_mtime_ns)
    return hashlib.sha256(f"{path.resolve()}\n{seen}\n{row.window_ms}".encode()).hexdigest()[:32]


def _chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    for start in range(0, len(rows), _CHUNK):
        yield rows[start : start + _CHUNK]
