"""The model inputs of one batch, read in this process or another: frames, change, collation.

An ``InputPlan`` holds all that chance decides, so reading one draws no random number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contract.example import ModelInputs, collate
from contract.input_spec import InputSpec
from contract.text import TokenisedText
from training.config import AugmentationConfig
from training.data.augmentation import Change, apply_change
from training.data.frames.frame_store import FrameStore
from training.data.frames.trunk_features import EMPTY_TEXT, ClipFeatures, TextFeatures, TrunkFeaturesError
from training.data.manifest import Row

Hidden = Literal["video", "text"] | None


class RowError(ValueError):
    """A row whose frames cannot be read. The message names it."""


@dataclass(frozen=True)
class InputPlan:
    """What a batch is read from; all three are as long as the batch.

    Attributes:
        rows: whose clips, if they have one.
        texts: the rows' own texts, or borrowed ones.
        changes: of the clips; None leaves a clip as it is.
        text_ids: ids of the rows that the texts are of.
        views: which of the kept views of a clip is read, where a frozen trunk's output is.
        hidden: what is held back of a row that has both clip and text.
    """

    rows: tuple[Row, ...]
    texts: tuple[TokenisedText, ...]
    changes: tuple[Change | None, ...]
    text_ids: tuple[str, ...]
    views: tuple[int, ...]
    hidden: tuple[Hidden, ...]


@dataclass(frozen=True)
class InputReader:
    """Reads plans. Small enough to be sent to worker processes: it holds no row and no text.

    Attributes:
        store: of frames.
        spec: of the inputs.
        pad_id: of texts.
        blank: the empty text.
        augmentation: what ``changes`` were drawn by.
        clip_features, text_features: what frozen encoders give; then frames are not read, or texts not encoded.
    """

    store: FrameStore
    spec: InputSpec
    pad_id: int
    blank: TokenisedText
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    clip_features: ClipFeatures | None = None
    text_features: TextFeatures | None = None

    def read(self, plan: InputPlan) -> dict[str, Tensor]:
        """Tensors under the contract's input names; ``vision_features`` (B, K, F) in place of ``frames`` and
        ``text_features`` (B, L, D) beside the ids, where they are kept.

        Raises:
            RowError: the frames or features of a row cannot be read.
        """
        texts = [self.blank if h == "text" else t for t, h in zip(plan.texts, plan.hidden, strict=True)]
        shown = [row.video is not None and h != "video" for row, h in zip(plan.rows, plan.hidden, strict=True)]
        nothing = np.zeros(0, np.uint8)
        examples = [
            ModelInputs(
                self._frames(row, change) if self.clip_features is None else nothing, (), text, video_present=present
            )
            for row, text, change, present in zip(plan.rows, texts, plan.changes, shown, strict=True)
        ]
        inputs = {name: torch.from_numpy(array) for name, array in collate(examples, self.pad_id).items()}
        if self.clip_features is not None:
            del inputs["frames"]
            inputs["vision_features"] = self._clip_features(self.clip_features, plan)
        if self.text_features is not None:
            length = inputs["input_ids"].shape[1]
            ids = [EMPTY_TEXT if h == "text" else i for i, h in zip(plan.text_ids, plan.hidden, strict=True)]
            inputs["text_features"] = _padded([self.text_features.features(i) for i in ids], length)
        return inputs

    def _frames(self, row: Row, change: Change | None) -> NDArray[np.uint8]:
        if row.video is None:
            return np.zeros(self.spec.frames_shape, np.uint8)
        try:
            frames = self.store.frames(row)
        except Exception as error:  # whatever the store's library raises: the row must be named
            raise RowError(f"row {row.id}: its frames cannot be read: {type(error).__name__}: {error}") from error
        if frames.shape != self.spec.frames_shape:
            raise RowError(f"row {row.id}: its frames are {frames.shape}, not {self.spec.frames_shape}")
        return frames if change is None else apply_change(frames, change, self.augmentation)

    def _clip_features(self, store: ClipFeatures, plan: InputPlan) -> Tensor:
        """(B, K, F); zeros where there is no clip. A batch without clips asks for one row of zeros a text."""
        found: list[NDArray[np.float32] | None] = []
        for row, view in zip(plan.rows, plan.views, strict=True):
            try:
                found.append(None if row.video is None else store.features(row.id, view))
            except (KeyError, TrunkFeaturesError) as error:
                raise RowError(f"row {row.id}: {error}") from error
        shape = next((f.shape for f in found if f is not None), (self.spec.moments, store.width))
        return torch.from_numpy(np.stack([np.zeros(shape, np.float32) if f is None else f for f in found]))


def _padded(texts: list[NDArray[np.float32]], length: int) -> Tensor:
    padded = np.zeros((len(texts), length, texts[0].shape[1]), np.float32)
    for row, text in enumerate(texts):
        padded[row, : len(text)] = text
    return torch.from_numpy(padded)
