"""Inference: a bucket of model inputs -> logits, on a bounded number of lanes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import metadata
from typing import Any, TypeVar

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from contract.bundle import Bundle
from contract.bundle_manifest import VISION, WHOLE
from contract.errors import BundleError
from contract.example import ModelInputs, collate
from contract.model_graphs import FEATURES, ModelGraphs
from service.cores import step_back
from service.errors import StartError
from service.settings import LaneSettings

T = TypeVar("T")
_PROVIDERS: Mapping[str, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_CUDA_OPTIONS = {"cudnn_conv_algo_search": "HEURISTIC", "arena_extend_strategy": "kSameAsRequested"}


def refuse_double_runtime() -> None:
    """Raises StartError where both onnxruntime distributions are installed: they overwrite each other's files."""
    installed = []
    for name in ("onnxruntime", "onnxruntime-gpu"):
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        installed.append(name)
    if len(installed) > 1:
        raise StartError(
            "onnxruntime and onnxruntime-gpu are both installed and break each other: "
            "install the extra 'serve' or 'serve-gpu' into a fresh environment, never both"
        )


class Lanes:
    """``count`` threads; whoever holds one of the permits may run one batch.

    Args:
        count: batches that run at the same time.
        shares_cores: whether what runs on them takes cores from decoding: not on a GPU.
    """

    def __init__(self, count: int, *, shares_cores: bool = True) -> None:
        self.count = count
        self.shares_cores = shares_cores
        self.free = asyncio.Semaphore(count)
        self.waiting = 0
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="lane", initializer=step_back)

    async def run(self, work: Callable[[], T]) -> T:
        """``work()`` on a lane's thread. The caller holds a permit of ``free``."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def acquire(self) -> None:
        """A permit, for work that somebody waits for."""
        self.waiting += 1
        try:
            await self.free.acquire()
        finally:
            self.waiting -= 1

    def close(self) -> None:
        """Lets what runs end; takes nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class GaveWay(Exception):
    """Work that nobody waits for was given up."""


class _Polite:
    """A session that asks, before it runs, whether to give up. (The tower runs once for each moment on the CPU.)"""

    def __init__(self, session: Any, given_up: Callable[[], bool]) -> None:
        self._session = session
        self._given_up = given_up

    def get_inputs(self) -> Sequence[Any]:
        inputs: Sequence[Any] = self._session.get_inputs()
        return inputs

    def run(self, output_names: Sequence[str], feeds: Mapping[str, Any]) -> Sequence[Any]:
        if self._given_up():
            raise GaveWay
        values: Sequence[Any] = self._session.run(output_names, feeds)
        return values


class ArmModel:
    """A bundle's model, loaded. Safe to call from several lanes.

    Args:
        bundle: a verified bundle.
        settings: provider and threads.

    Raises:
        StartError: the model cannot be loaded, or not on the provider that was asked for.
    """

    def __init__(self, bundle: Bundle, settings: LaneSettings) -> None:
        self._bundle = bundle
        manifest = bundle.manifest
        self._tasks = manifest.tasks
        # On a GPU every shape is warmed beforehand, so texts are padded to one length; on the CPU padding costs.
        self._pad_to = bundle.manifest.input_spec.max_text_tokens if settings.provider == "cuda" else None
        self.buckets = settings.effective_buckets
        sessions = {role: _session(bundle, role, settings) for role in manifest.graphs}
        graphs = ModelGraphs(
            manifest.tasks,
            sessions,
            manifest.feature_shape,
            manifest.evidence_names,
            every_row=settings.provider == "cuda",  # a shape that is new to a session costs plans there, see below
            moments_at_once=0 if settings.provider == "cuda" else 1,
        )
        self._graphs = dict.fromkeys(self.buckets, graphs)
        if settings.provider == "cuda":
            # A session there keeps the plans of its convolutions for the last shape alone, and makes them anew, in
            # 0.3 s, when another comes: so each batch size has a session of its own for the tower.
            tower = VISION if VISION in sessions else WHOLE
            for bucket in self.buckets[1:]:
                own = {**sessions, tower: _session(bundle, tower, settings)}
                self._graphs[bucket] = replace(graphs, sessions=own)
        self.provider: str = next(iter(sessions.values())).get_providers()[0]
        self.seconds: dict[int, float] = {}
        """Of a run by bucket in which every row has a clip, once it is proved."""
        self.text_seconds = 0.0
        """Of one text without a clip."""
        self.vision_digest = manifest.files[manifest.graphs[VISION]] if VISION in manifest.graphs else None
        """Of the file of its vision tower; None where it has none of its own."""

    def keep_features(self) -> None:
        """From now on what the vision tower gives stands among the outputs: another arm has the same tower."""
        self._graphs = {bucket: replace(graphs, keep_features=True) for bucket, graphs in self._graphs.items()}

    def infer_giving_way(
        self, example: ModelInputs, needed: Callable[[], bool], features: NDArray[np.float32] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """The same as ``infer`` for one example: its own row.

        Args:
            example: what is read.
            needed: asked between two moments whether a caller needs the lane.
            features: (M, F), what an equal vision tower gave for it.

        Raises:
            GaveWay: somebody does.
        """
        feeds = collate([example], self._bundle.tokenizer.pad_id, self._pad_to)
        if features is not None and example.video_present:
            feeds[FEATURES] = features[None]
        return {name: values[0] for name, values in self._polite(1, needed).run(feeds).items()}

    def infer(
        self, examples: Sequence[ModelInputs], given_up: Callable[[], bool] = lambda: False
    ) -> dict[str, NDArray[np.float32]]:
        """Task name -> (n, K) logits of n examples, run in the smallest bucket that holds them, and their evidence.

        Args:
            examples: at most as many as the largest bucket.
            given_up: asked between two moments whether nobody waits any more.

        Raises:
            ValueError: more examples than the largest bucket.
            GaveWay: nobody waits.
        """
        n = len(examples)
        bucket = next((b for b in self.buckets if b >= n), None)
        if bucket is None:
            raise ValueError(f"{n} examples do not fit buckets {self.buckets}")
        padded = [*examples, *([examples[-1]] * (bucket - n))]
        feeds = collate(padded, self._bundle.tokenizer.pad_id, self._pad_to)
        return {name: logits[:n] for name, logits in self._polite(bucket, given_up).run(feeds).items()}

    def _polite(self, bucket: int, given_up: Callable[[], bool]) -> ModelGraphs:
        graphs = self._graphs[bucket]
        polite = {role: _Polite(session, given_up) for role, session in graphs.sessions.items()}
        return replace(graphs, sessions=polite)

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float32]]:
        """What ``ModelGraphs.run`` gives for a batch that is laid out already.

        Raises:
            ValueError: it has the size of none of the ``buckets``.
        """
        if (size := len(feeds["video_present"])) not in self._graphs:
            raise ValueError(f"{size} examples are none of buckets {self.buckets}")
        return self._graphs[size].run(feeds)

    def prove(self) -> float:
        """Warms every bucket, times it, and replays the golden examples in it.

        Returns:
            The largest difference to a recorded logit.

        Raises:
            StartError: a difference over the bundle's ``golden_tolerance``.
        """
        golden, manifest = self._bundle.golden, self._bundle.manifest
        rows, worst = np.arange(len(golden.inputs["frames"])), 0.0
        clips = np.flatnonzero(golden.inputs["video_present"])
        for bucket in self.buckets:
            for first in range(0, len(rows), bucket):
                picked = np.resize(rows[first : first + bucket], bucket)
                logits = self.run(self._golden_rows(picked))
                for task in self._tasks:
                    gap = np.abs(logits[task.name] - golden.logits[task.name][picked])
                    worst = max(worst, float(np.where(np.isfinite(gap), gap, np.inf).max()))
            feeds = self._golden_rows(np.resize(clips if len(clips) else rows, bucket))
            self.seconds[bucket] = self._timed(feeds)
            if bucket == self.buckets[0]:
                absent = np.zeros_like(feeds["video_present"])
                self.text_seconds = self._timed({**feeds, "video_present": absent})
        if worst > manifest.golden_tolerance:
            raise StartError(
                f"{self._bundle.directory}: on {self.provider} its golden examples come out {worst:.2g} away from "
                f"what was recorded, over its tolerance of {manifest.golden_tolerance:.2g}"
            )
        return worst

    def _timed(self, feeds: Mapping[str, NDArray[Any]]) -> float:
        began = time.monotonic()
        self.run(feeds)
        return time.monotonic() - began

    def _golden_rows(self, picked: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
        return golden_rows(self._bundle, picked, self._pad_to)


def golden_rows(bundle: Bundle, picked: NDArray[np.int64], pad_to: int | None) -> dict[str, NDArray[Any]]:
    """Golden examples as the graphs are fed.

    Args:
        bundle: whose.
        picked: their places, in the batch's order.
        pad_to: tokens that every text gets; None leaves them as they were recorded.
    """
    found = {name: array[picked] for name, array in bundle.golden.inputs.items()}
    if pad_to is not None:
        for name, fill in (("input_ids", bundle.tokenizer.pad_id), ("attention_mask", 0)):
            missing = pad_to - found[name].shape[1]
            found[name] = np.pad(found[name], ((0, 0), (0, missing)), constant_values=fill)
    return found


def provider_options(provider: str, *, tf32: bool = False) -> list[Any]:
    """What a session is given as ``providers`` for ``cpu`` or ``cuda``, with CUDA's libraries loaded for the latter.

    Args:
        provider: a key of ``lanes.provider``.
        tf32: whether fp32 products may round to 10 bits on a GPU; golden examples then come out about 1e-3 away.
    """
    wanted = _PROVIDERS[provider]
    if provider != "cuda":
        return [wanted]
    onnxruntime.preload_dlls()
    return [(wanted, {**_CUDA_OPTIONS, "use_tf32": str(int(tf32))}), _PROVIDERS["cpu"]]


def _session(bundle: Bundle, role: str, settings: LaneSettings) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.intra_threads
    options.inter_op_num_threads = 1
    # On a GPU the runtime logs an error for each plan that it tries in vain before another; what it fails at it raises.
    options.log_severity_level = 4 if settings.provider == "cuda" else 3
    wanted, providers = _PROVIDERS[settings.provider], provider_options(settings.provider)
    try:
        graph = bundle.graph(role)
    except BundleError as error:
        raise StartError(str(error)) from error
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=providers)
    except Exception as error:  # the runtime raises its own types, which derive from Exception alone
        file = bundle.directory / bundle.manifest.graphs[role]
        raise StartError(f"{file}: onnxruntime cannot load it ({type(error).__name__})") from error
    # The runtime falls back to the CPU in silence where CUDA's libraries are missing.
    if session.get_providers()[0] != wanted:
        raise StartError(
            f"lanes.provider is {settings.provider} but onnxruntime runs on {session.get_providers()[0]}: "
            "install the extra 'serve-gpu' and a matching driver, or set lanes.provider to cpu"
        )
    return session
