"""The graphs of a bundle on the CPU, for export: parity, golden examples, references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime

from contract.bundle import Bundle
from contract.model_graphs import ModelGraphs
from model_export.to_onnx import ExportedGraphs
from training.fitting.checkpoint import CheckpointCard


def open_written(card: CheckpointCard, exported: ExportedGraphs, directory: Path) -> ModelGraphs:
    """The graphs that an export has just written."""
    sessions = {role: _session((directory / file).read_bytes()) for role, file in exported.files.items()}
    return ModelGraphs(card.tasks, sessions, exported.feature_shape, exported.evidence)


def graphs_of(bundle: Bundle) -> ModelGraphs:
    """A bundle's graphs, verified as they are read."""
    manifest = bundle.manifest
    sessions = {role: _session(bundle.graph(role)) for role in manifest.graphs}
    return ModelGraphs(manifest.tasks, sessions, manifest.feature_shape, manifest.evidence_names)


def _session(graph: bytes) -> Any:
    return onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
