"""A composed clip -> the pictures that the sampler would pick of it, and what the frozen trunk makes of them.

A burst that straddles a cut holds pictures of both scenes, as it would of an encoded file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from contract.errors import InputError
from contract.input_spec import InputSpec
from contract.video import DecodeLimits, decode
from contract.video.sampling import on_screen, target_times
from recipes.long_clips.composition import LongClip
from training.atomic_write import write_arrays
from training.data.manifest import Manifest, Row
from training.models.vision_trunk import VisionTrunk

_PICTURES = 64
"""Read of a short clip: all of two seconds at up to 32 pictures a second."""
_SHORT_BY_S = 0.2
"""How much shorter than asked for a clip may be; its last picture then stays on screen."""
Picture = tuple[str, int]
"""A row's id and which of its pictures."""


@dataclass(frozen=True)
class ShortClip:
    """What is read of a short clip.

    Attributes:
        times_s: when each picture appears, from the start of what the row shows, ascending.
        pixels: (N, S, S, 3) uint8.
    """

    times_s: tuple[float, ...]
    pixels: NDArray[np.uint8]


def read_short_clips(manifest: Manifest, rows: Sequence[Row], spec: InputSpec, seconds: float) -> dict[str, ShortClip]:
    """Row id -> its pictures, of the rows whose clip can be decoded and is long enough.

    Args:
        manifest: of the rows.
        rows: any with a clip.
        spec: the size of pictures is read.
        seconds: of each clip, from the start of its window.
    """
    dense = spec.model_copy(update={"frames": _PICTURES, "sampling": "segment_middle", "burst": None})
    found: dict[str, ShortClip] = {}
    for row in tqdm(rows, desc="short clips", disable=None):
        path = manifest.video_path(row)
        if path is None:
            continue
        first_ms, last_ms = row.window_ms or (0.0, float("inf"))
        window_ms = (first_ms, min(last_ms, first_ms + 1000 * seconds))
        try:
            frames = decode(path, dense, DecodeLimits(), window_ms=window_ms)
        except (InputError, OSError):
            continue  # the manifest's own runs leave it out and say so
        shown_s = min(frames.probe.end_s, window_ms[1] / 1000) - first_ms / 1000
        if shown_s < seconds - _SHORT_BY_S:
            continue
        times_s, indices = np.unique(np.asarray(frames.times_ms), return_index=True)
        pixels = np.ascontiguousarray(frames.pixels[indices])
        found[row.id] = ShortClip(tuple(max(0.0, (t - first_ms) / 1000) for t in times_s), pixels)
    return found


def picked(clip: LongClip, spec: InputSpec, times_s: Mapping[str, Sequence[float]]) -> list[Picture]:
    """(T,) the pictures that the sampler reads of the composed clip, in its order.

    Args:
        clip: composed.
        spec: how clips are sampled.
        times_s: row id -> when each of its pictures appears.
    """
    ends_s = [scene.end_s for scene in clip.scenes]
    pictures = []
    for at in target_times(0.0, ends_s[-1], spec):
        number = min(int(np.searchsorted(ends_s, at, side="right")), len(ends_s) - 1)
        scene = clip.scenes[number]
        own = times_s[scene.row_id]
        pictures.append((scene.row_id, on_screen(own, [scene.shown_from_s + at - scene.start_s])[0]))
    return pictures


def moment_times_s(clip: LongClip, spec: InputSpec) -> NDArray[np.float64]:
    """(K,) when each moment's middle picture is wanted, as evidence names it."""
    times_s = target_times(0.0, clip.scenes[-1].end_s, spec)
    each = len(times_s) // spec.moments
    return np.asarray(times_s[each // 2 :: each])


@torch.no_grad()
def moment_features(
    clips: Sequence[LongClip], spec: InputSpec, short: Mapping[str, ShortClip], trunk: VisionTrunk
) -> NDArray[np.float16]:
    """(N, K, F) what the frozen trunk gives of every composed clip. Bursts that clips share are computed once."""
    times_s = {row_id: clip.times_s for row_id, clip in short.items()}
    each = spec.frames // spec.moments
    known: dict[tuple[Picture, ...], NDArray[np.float16]] = {}
    found = np.empty((len(clips), spec.moments, trunk.width), np.float16)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a burst is too small a batch to share
    for n, clip in enumerate(tqdm(clips, desc="composed clips", disable=None)):
        pictures = picked(clip, spec, times_s)
        for k in range(spec.moments):
            burst = tuple(pictures[k * each : (k + 1) * each])
            if burst not in known:
                pixels = np.stack([short[row_id].pixels[i] for row_id, i in burst])
                known[burst] = np.asarray(trunk.moments(torch.from_numpy(pixels)[None])[0].numpy(), np.float16)
            found[n, k] = known[burst]
    torch.set_num_threads(threads)
    return found


def kept_features(
    clips: Sequence[LongClip],
    spec: InputSpec,
    short: Mapping[str, ShortClip],
    trunk: VisionTrunk,
    identity: str,
    directory: Path,
) -> NDArray[np.float16]:
    """As ``moment_features``, kept on disk under what decides them.

    Args:
        clips, spec, short, trunk: as there.
        identity: of the trunk: its weights, statistics, and the input spec.
        directory: of the cache.
    """
    parts = {
        i: [list(one.times_s), hashlib.sha256(one.pixels.tobytes()).hexdigest()] for i, one in sorted(short.items())
    }
    document = {"trunk": identity, "clips": [clip.model_dump(mode="json") for clip in clips], "parts": parts}
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
    path = directory / "features" / f"composed-{digest[:16]}.npz"
    shape = (len(clips), spec.moments, trunk.width)
    if path.exists():
        kept: NDArray[np.float16] = np.load(path, allow_pickle=False)["features"]
        if kept.shape == shape:
            return kept
    features = moment_features(clips, spec, short, trunk)
    if not np.isfinite(features).all():
        raise FloatingPointError("the vision trunk gives what is no number: its weights are damaged")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_arrays(path, features=features)
    return features
