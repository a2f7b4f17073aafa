"""The graphs of a bundle as one model: named inputs in, logits and evidence out. Knows no runtime: sessions are given.

A bundle holds one graph, ``model``, or two. ``vision`` turns frames into the statistics of each moment; ``rest`` reads
those, the text and what is present. So a request without a clip never pays for the vision tower, and arms whose towers
have one digest share what it gives.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from contract.bundle_manifest import REST, VISION, WHOLE
from contract.decision import TaskKind, TaskSpec

MOMENTS = "moments"
"""Input of the vision tower: (N, P, S, S, 3) uint8, the pictures of N moments."""
FEATURES = "vision_features"
"""Its output: (N, F); the rest reads them by clip, (B, M, F)."""
EVIDENCE_PREFIX = "evidence:"
"""Stands before a task's name where its evidence is kept beside the logits. No task's name holds a colon."""


class Session(Protocol):
    """What a runtime makes of a graph; ``onnxruntime.InferenceSession`` is one."""

    def run(self, output_names: Sequence[str], feeds: Mapping[str, Any]) -> Sequence[Any]: ...

    def get_inputs(self) -> Sequence[Any]: ...


@dataclass(frozen=True)
class ModelGraphs:
    """A bundle's graphs, loaded.

    Attributes:
        tasks: in the bundle's order.
        sessions: role -> graph.
        feature_shape, evidence_names: as ``BundleManifest``.
        every_row: whether a batch with a clip takes its rows without one through the vision tower too, so that it
            keeps one shape.
        moments_at_once: how many moments go through the tower together; 0 for all. On a CPU one at a time is fastest:
            its maps then stay in the cache.
        keep_features: whether what the vision tower gives stands among the outputs, for another arm of the same tower.
    """

    tasks: tuple[TaskSpec, ...]
    sessions: Mapping[str, Session]
    feature_shape: tuple[int, int] | None = None
    evidence_names: tuple[str, ...] = ()
    every_row: bool = False
    moments_at_once: int = 1
    keep_features: bool = False

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """Task name -> (B, K) logits, and ``evidence:<task>`` -> (B, M, K) of M moments where the bundle has it.

        Args:
            feeds: as ``contract.example.collate`` lays them out; with ``vision_features``, (B, M, F), in it, the vision
                tower does not run.
        """
        tasks = self.tasks
        names = [task.output_name for task in tasks]
        if WHOLE in self.sessions:
            values = _run(self.sessions[WHOLE], names, feeds)
            return {task.name: value for task, value in zip(tasks, values, strict=True)}
        pointed = [task for task in tasks if task.evidence_name in self.evidence_names]
        features = feeds[FEATURES] if FEATURES in feeds else self._features(feeds)
        rest = {name: array for name, array in feeds.items() if name != "frames"} | {FEATURES: features}
        values = _run(self.sessions[REST], names + [task.evidence_name for task in pointed], rest)
        keys = [task.name for task in tasks] + [EVIDENCE_PREFIX + task.name for task in pointed]
        found = dict(zip(keys, values, strict=True))
        return found | {FEATURES: features} if self.keep_features else found

    def _features(self, feeds: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """(B, M, F): of rows without a clip zeros, which nothing reads."""
        frames, present = feeds["frames"], feeds["video_present"]
        assert self.feature_shape is not None
        found = np.zeros((len(frames), *self.feature_shape), np.float32)
        rows = np.arange(len(frames)) if self.every_row and present.any() else np.flatnonzero(present)
        if len(rows):
            count = self.feature_shape[0]
            moments = frames[rows].reshape(len(rows) * count, -1, *frames.shape[2:])
            step = self.moments_at_once or len(moments)
            parts = [
                _run(self.sessions[VISION], [FEATURES], {MOMENTS: moments[first : first + step]})[0]
                for first in range(0, len(moments), step)
            ]
            found[rows] = np.concatenate(parts).reshape(len(rows), *self.feature_shape)
        return found


def _run(session: Session, names: Sequence[str], feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[np.float32]]:
    """A graph has no input that nothing in it reads, and a runtime takes no others."""
    wanted = {value.name for value in session.get_inputs()}
    return session.run(list(names), {name: array for name, array in feeds.items() if name in wanted})


def moment_scores(evidence_MK: NDArray[Any], task: TaskSpec, temperature: float) -> NDArray[np.float64]:
    """(M,): how much each moment adds to the flag, in calibrated logits; below 0 it speaks against it.

    Of a binary task that is its share of the logit; of another, the mean share of the labels that can raise the flag
    less that of the others.
    """
    shares_MK = np.asarray(evidence_MK, np.float64) / temperature
    if task.kind is TaskKind.BINARY:
        return np.asarray(shares_MK[:, 0])
    flagged = np.asarray([label in task.flagged_by for label in task.labels])
    if flagged.all():
        return np.asarray(shares_MK.max(axis=1))
    return np.asarray(shares_MK[:, flagged].mean(axis=1) - shares_MK[:, ~flagged].mean(axis=1))
