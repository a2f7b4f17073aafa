"""Frozen encoders over a whole manifest, once: their output is kept on disk, and fits read it in place of frames."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from contract.text import TextTokenizer, TokenisedText
from training.atomic_write import replacing, write_json
from training.child_process import end_with_parent
from training.config import RunConfig
from training.data.augmentation import apply_change, draw_change
from training.data.frames.frame_store import FrameStore
from training.data.frames.trunk_features import EMPTY_TEXT, ClipFeatures, TextFeatures
from training.data.loading.row_set import RowSet, with_trunk_features
from training.data.manifest import Row
from training.data.tokenizer import pieces_of
from training.models.df_xvlm import DFXVLM
from training.models.moment_xvlm import MomentXVLM
from training.models.text_encoder import attention_bias
from training.models.vision_trunk import VisionTrunk
from training.models.weights.encoders import module_digest

_LOG = logging.getLogger(__name__)
_TEXT_BATCH = 64
_OF_HEADS = {"width", "task_statistics", "task_pooling", "tied_channels", "bound", "dropout"}
"""Settings of vision that leave the trunk's output what it is."""
_STANDARDISED_ROWS = 256
"""Clips whose statistics are standardised by, where none are kept on disk."""


def xvlm_of(model: nn.Module) -> MomentXVLM | None:
    """The X-VLM over moments in a student or teacher; None where there is another."""
    inner = model.xvlm if isinstance(model, DFXVLM) else model
    return inner if isinstance(inner, MomentXVLM) else None


def clip_identity(model: MomentXVLM, config: RunConfig) -> str:
    """SHA-256 of what decides the trunk's output: weights, statistics, input spec, augmentation."""
    spec = config.input_spec.model_dump(mode="json")
    del spec["text_fields"], spec["text_cleaning"]
    document = {
        "trunk": module_digest(model.vision_encoder.trunk),
        "vision": config.model.vision.model_dump(mode="json", exclude=_OF_HEADS),
        "spec": spec,
        "augmentation": config.optimiser.augmentation.model_dump(mode="json"),
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def keep_clip_features(
    model: MomentXVLM,
    config: RunConfig,
    rows: Sequence[Row],
    frames: FrameStore,
    directory: Path,
    workers: int = 1,
) -> ClipFeatures:
    """The frozen trunk's output of every clip that can be read; what is kept already is not computed again.

    Args:
        model: with its pretrained weights.
        config: of the run.
        rows: any; those without a clip are passed over.
        frames: where their frames are.
        directory: of the cache.
        workers: processes that compute, one thread each.

    Raises:
        FloatingPointError: the trunk gives what is no number; the message names the row.
    """
    views, identity = config.optimiser.augmentation.views, clip_identity(model, config)
    home = directory / "features" / identity[:16]
    home.mkdir(parents=True, exist_ok=True)
    trunk = model.vision_encoder.trunk.eval()
    wanted = [row for row in rows if row.video is not None and row.id not in frames.failed]
    task = _Task(trunk, config, frames, home)
    if workers == 1:
        found = list(tqdm(map(task.keep, wanted), total=len(wanted), desc="vision trunk", disable=None))
    else:
        # Spawned, not forked: the parent may hold threads of torch.
        with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (task,)) as pool:
            kept = pool.map(_keep, wanted, chunksize=4)
            found = list(tqdm(kept, total=len(wanted), desc="vision trunk", disable=None))
    return ClipFeatures(identity, dict(zip([row.id for row in wanted], found, strict=True)), views, trunk.width)


@dataclass(frozen=True)
class _Task:
    """What a process needs to compute features of rows."""

    trunk: VisionTrunk
    config: RunConfig
    frames: FrameStore
    home: Path

    def keep(self, row: Row) -> Path:
        """The file that holds the row's features."""
        pixels = self.frames.frames(row)
        path = self.home / f"{hashlib.sha256(pixels.tobytes()).hexdigest()[:32]}.npy"
        views = self.config.optimiser.augmentation.views
        if _is_whole(path, (views, self.config.input_spec.moments, self.trunk.width)):
            return path
        kept = np.stack([self._view(pixels, view, row) for view in range(views)])
        if not np.isfinite(kept).all():
            raise FloatingPointError(f"row {row.id}: the vision trunk gives what is no number: its weights are damaged")
        with replacing(path, shared=True) as partial, partial.open("wb") as file:
            np.save(file, kept, allow_pickle=False)
        return path

    @torch.no_grad()
    def _view(self, pixels: NDArray[np.uint8], view: int, row: Row) -> NDArray[np.float16]:
        """(K, F): of the clip as it is, or changed as the row's id and the number of the view have it.

        One moment at a time: its maps then stay in the processor's cache, and it takes a third of the time.
        """
        options = self.config.optimiser.augmentation
        if view > 0:
            rng = np.random.default_rng([view, zlib.crc32(row.id.encode())])
            pixels = apply_change(pixels, draw_change(pixels.shape[1], rng, options), options)
        moments = torch.from_numpy(np.ascontiguousarray(pixels)).unflatten(0, (self.config.input_spec.moments, -1))
        features = [self.trunk.moments(moment[None]) for moment in moments]
        return np.asarray(torch.cat(features).numpy(), np.float16)


_task: _Task | None = None
"""Of a worker process."""


def _start(task: _Task) -> None:
    global _task
    end_with_parent()
    torch.set_num_threads(1)
    _task = task


def _keep(row: Row) -> Path:
    assert _task is not None
    return _task.keep(row)


def keep_text_features(
    model: MomentXVLM, rows: Sequence[Row], tokenizer: TextTokenizer, known: set[str], directory: Path
) -> TextFeatures:
    """The frozen text layers' output of every row's text, and of the empty one.

    Args:
        model: with its pretrained weights.
        rows: any.
        tokenizer: of the run.
        known: text fields that are read.
        directory: of the cache.
    """
    texts: dict[str, TokenisedText] = {EMPTY_TEXT: tokenizer.encode({})}
    for row in rows:
        text = tokenizer.encode({name: value for name, value in row.texts.items() if name in known})
        if text.present:
            texts[row.id] = text
    identity = _text_identity(model, texts)
    home = directory / "features" / f"text-{identity[:16]}"
    path, record = home / "tokens.npy", home / "spans.json"
    if not (record.exists() and path.exists()):
        home.mkdir(parents=True, exist_ok=True)
        spans = _write_texts(model, texts, path)
        write_json(record, spans)
    spans = {key: (int(start), int(stop)) for key, (start, stop) in json.loads(record.read_text()).items()}
    return TextFeatures(identity, path, spans)


@torch.no_grad()
def _write_texts(model: MomentXVLM, texts: dict[str, TokenisedText], path: Path) -> dict[str, tuple[int, int]]:
    encoder = model.text_encoder.eval()
    order = sorted(texts, key=lambda key: len(texts[key].input_ids))
    total = sum(len(text.input_ids) for text in texts.values())
    width = model.hidden
    spans: dict[str, tuple[int, int]] = {}
    with replacing(path, shared=True) as partial:
        kept = np.lib.format.open_memmap(partial, mode="w+", dtype=np.float16, shape=(total, width))
        at = 0
        for first in tqdm(range(0, len(order), _TEXT_BATCH), desc="text layers", disable=None):
            keys = order[first : first + _TEXT_BATCH]
            ids, mask = _padded([texts[key] for key in keys])
            tokens_BLD = encoder(ids, attention_bias(mask)).numpy()
            if not np.isfinite(tokens_BLD).all():
                raise FloatingPointError("the text layers give what is no number: their weights are damaged")
            for key, tokens_LD in zip(keys, tokens_BLD, strict=True):
                length = len(texts[key].input_ids)
                kept[at : at + length] = tokens_LD[:length]
                spans[key] = (at, at + length)
                at += length
        kept.flush()
        del kept
    return spans


def _padded(texts: Sequence[TokenisedText]) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(len(text.input_ids) for text in texts)
    ids, mask = np.zeros((len(texts), longest), np.int64), np.zeros((len(texts), longest), np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text.input_ids)], mask[row, : len(text.input_ids)] = text.input_ids, 1
    return torch.from_numpy(ids), torch.from_numpy(mask)


def write_record(path: Path, clips: ClipFeatures | None, texts: TextFeatures | None) -> None:
    """Records where kept features are, for the processes that train."""
    document: dict[str, object] = {}
    if clips is not None:
        files = {row_id: str(file) for row_id, file in clips.files.items()}
        document["clips"] = {"identity": clips.identity, "files": files, "views": clips.views, "width": clips.width}
    if texts is not None:
        document["texts"] = {"identity": texts.identity, "path": str(texts.path), "spans": dict(texts.spans)}
    write_json(path, document)


def read_record(path: Path) -> tuple[ClipFeatures | None, TextFeatures | None]:
    """What ``write_record`` recorded; nothing where it recorded nothing."""
    document = json.loads(path.read_text()) if path.exists() else {}
    clips, texts = document.get("clips"), document.get("texts")
    kept_clips = kept_texts = None
    if clips is not None:
        files = {row_id: Path(file) for row_id, file in clips["files"].items()}
        kept_clips = ClipFeatures(clips["identity"], files, clips["views"], clips["width"])
    if texts is not None:
        spans = {key: (int(start), int(stop)) for key, (start, stop) in texts["spans"].items()}
        kept_texts = TextFeatures(texts["identity"], Path(texts["path"]), spans)
    return kept_clips, kept_texts


def usable_features(model: nn.Module, rows: RowSet) -> RowSet:
    """The rows with the kept features that this model's own frozen encoders give; others are read anew."""
    inner = xvlm_of(model)
    clips, texts = rows.clip_features, rows.text_features
    if inner is None or not inner.vision_encoder.trunk.frozen:
        clips = None
    if inner is None or not inner.text_frozen:
        texts = None
    if (clips, texts) == (rows.clip_features, rows.text_features):
        return rows
    return with_trunk_features(rows, clips, texts)


def read_rows(model: nn.Module, train: RowSet, tokenizer: Path) -> None:
    """Gives the model what it takes from the training rows and the run's vocabulary before a step is made.

    Means and deviations of clips' statistics and of texts' means, which words go on, how rare each word is.

    Args:
        model: a student or a teacher; changed in place, where it is over moments.
        train: rows; unchanged clips are read.
        tokenizer: of the run.
    """
    inner = xvlm_of(model)
    if inner is None:
        return
    _standardise_clips(inner, train)
    texts = [i for i, text in enumerate(train.texts) if text.present]
    if inner.pooled_text is not None and texts:
        inner.pooled_text.standardise(torch.stack(list(_pooled_texts(inner, train, texts))))
    if inner.ngrams is not None:
        inner.ngrams.read_vocabulary(pieces_of(tokenizer))
        if inner.ngrams.by_tfidf:
            inner.ngrams.read_texts(_by_length([train.texts[i] for i in texts]))


@torch.no_grad()
def _pooled_texts(model: MomentXVLM, train: RowSet, chosen: Sequence[int]) -> Iterator[torch.Tensor]:
    """(D,) of each text: the mean of its tokens; of some texts where their tokens are not kept."""
    if train.text_features is not None:
        for i in chosen:
            yield torch.from_numpy(train.text_features.features(train.rows[i].id)).mean(dim=0)
        return
    model.text_encoder.eval()  # without dropout, which would be taken for how texts differ
    for i in chosen[:: max(1, len(chosen) // _STANDARDISED_ROWS)]:
        ids, mask = _padded([train.texts[i]])
        yield model.text_encoder(ids, attention_bias(mask))[0].mean(dim=0)


def _by_length(texts: Sequence[TokenisedText]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Ids and masks of batches whose texts are of like length."""
    ordered = sorted(texts, key=lambda text: len(text.input_ids))
    for first in range(0, len(ordered), _TEXT_BATCH):
        yield _padded(ordered[first : first + _TEXT_BATCH])


@torch.no_grad()
def _standardise_clips(inner: MomentXVLM, train: RowSet) -> None:
    clips = [row for row in train.rows if row.video is not None]
    if not clips:
        return
    if train.clip_features is not None:
        kept = [train.clip_features.features(row.id, 0) for row in clips]
        inner.vision_encoder.standardise(torch.from_numpy(np.stack(kept)))
        return
    chosen = clips[:: max(1, len(clips) // _STANDARDISED_ROWS)]
    trunk = inner.vision_encoder.trunk
    found = [trunk(torch.from_numpy(np.ascontiguousarray(train.cache.frames(row)))[None]) for row in chosen]
    inner.vision_encoder.standardise(torch.cat(found))


def _is_whole(path: Path, shape: tuple[int, ...]) -> bool:
    return path.is_file() and path.stat().st_size > 2 * int(np.prod(shape))


def _text_identity(model: MomentXVLM, texts: dict[str, TokenisedText]) -> str:
    digest = hashlib.sha256(module_digest(model.text_encoder).encode())
    for key in sorted(texts):
        digest.update(f"{key}\n".encode() + texts[key].input_ids.tobytes())
    return digest.hexdigest()
