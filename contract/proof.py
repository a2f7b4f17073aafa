"""Replays a bundle's golden clip and title, stage by stage. Who has no runtime for the model replays the first two."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contract.bundle import Bundle
from contract.decision import Modality, decide
from contract.errors import BundleError, GoldenMismatch, MediaError
from contract.example import ModelInputs, assemble
from contract.replay import check_frames, check_ids, check_scores, decode_bytes
from contract.video import DecodeLimits, Frames, VideoProbe

_LIBRARIES = ("av", "numpy", "tokenizers")


def libraries() -> dict[str, str]:
    """The versions here of what makes model inputs, and the machine."""
    return {name: metadata.version(name) for name in _LIBRARIES} | {"machine": os.uname().machine}


def prove_inputs(bundle: Bundle, pixels: NDArray[np.uint8], times_ms: Sequence[float]) -> tuple[ModelInputs, float]:
    """Replays tokenisation, and checks it and what decoding gave.

    Args:
        bundle: one that holds a golden clip.
        pixels: (T, S, S, 3) uint8, what decoding the clip gave.
        times_ms: (T,).

    Returns:
        What the model reads, and how far the frames lie from those expected, in mean levels.

    Raises:
        GoldenMismatch: one of them came out otherwise.
        BundleError: the bundle holds no golden clip.
    """
    replay, clip = bundle.manifest.replay, bundle.clip
    if replay is None or clip is None:
        raise BundleError(f"{bundle.directory}: holds no golden clip")
    spec = bundle.manifest.input_spec
    gap = check_frames(replay, clip, pixels, times_ms)
    text = bundle.tokenizer.encode(dict(replay.texts))
    check_ids(replay, text.input_ids.tolist())
    probe = VideoProbe("mp4", "h264", 0, 0, (), 0.0, 0, indexed=True)
    return assemble(Frames(pixels, tuple(times_ms), probe), text, spec), gap


def prove_inputs_here(bundle: Bundle, limits: DecodeLimits) -> tuple[ModelInputs, float]:
    """As ``prove_inputs``, after decoding the clip in this process.

    Raises:
        GoldenMismatch, BundleError: as there; also where the clip does not decode at all.
    """
    if bundle.clip is None:
        raise BundleError(f"{bundle.directory}: holds no golden clip")
    try:
        frames = decode_bytes(bundle.clip.data, bundle.manifest.input_spec, limits)
    except MediaError as error:
        raise undecodable(error) from error
    return prove_inputs(bundle, frames.pixels, frames.times_ms)


def undecodable(error: MediaError) -> GoldenMismatch:
    """What a golden clip that is refused means."""
    return GoldenMismatch("decode", float("inf"), 0, f"(it is refused as {error.code})")


def prove_scores(bundle: Bundle, logits: Mapping[str, NDArray[Any]]) -> float:
    """How far the clip's scores lie from those expected, at most.

    Args:
        bundle: one that holds a golden clip.
        logits: task -> (K,), what the model gave for the inputs of ``prove_inputs``.

    Raises:
        GoldenMismatch: over the tolerance, or not numbers.
        BundleError: the bundle holds no golden clip.
    """
    manifest = bundle.manifest
    if manifest.replay is None:
        raise BundleError(f"{bundle.directory}: holds no golden clip")
    try:
        decisions = decide(logits, manifest.tasks, manifest.policy, frozenset(Modality))
    except ValueError as error:
        raise GoldenMismatch("inference", float("inf"), manifest.replay.score_tolerance, f"({error})") from error
    return check_scores(manifest.replay, {name: decision.scores for name, decision in decisions.items()})


def explained(bundle: Bundle, error: GoldenMismatch) -> str:
    """The mismatch in one line, with the versions that may be behind it."""
    recorded = bundle.manifest.replay.recorded_with if bundle.manifest.replay else {}
    changed = [
        f"{name} was {recorded[name]}, is {version}"
        for name, version in libraries().items()
        if recorded.get(name, version) != version
    ]
    behind = f" ({'; '.join(changed)})" if changed else ""
    return f"{bundle.directory}: its golden clip and title come out otherwise than at export: {error}{behind}"
