"""The model inputs of one batch, read in this process or another: frames, change, collation.

An ``InputPlan`` holds all that chance decides, so reading one draws no random number.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from contract.example import ModelInputs, collate
from contract.input_spec import InputSpec
from contract.text import TokenisedText
from training.data.augmentation import Change, apply_change
from training.data.frames.frame_store import FrameStore
from training.data.manifest import Row


class RowError(ValueError):
    """A row whose frames cannot be read. The message names it."""


@dataclass(frozen=True)
class InputPlan:
    """What a batch is read from; all three are as long as the batch.

    Attributes:
        rows: whose clips, if they have one.
        texts: the rows' own texts, or borrowed ones.
        changes: of the clips; None leaves a clip as it is.
    """

    rows: tuple[Row, ...]
    texts: tuple[TokenisedText, ...]
    changes: tuple[Change | None, ...]


@dataclass(frozen=True)
class InputReader:
    """Reads plans. Small enough to be sent to worker processes: it holds no row and no text."""

    store: FrameStore
    spec: InputSpec
    pad_id: int

    def read(self, plan: InputPlan) -> dict[str, Tensor]:
        """Tensors under the contract's input names.

        Raises:
            RowError: the frames of a row cannot be read.
        """
        examples = [
            ModelInputs(self._frames(row, change), (), text, video_present=row.video is not None)
            for row, text, change in zip(plan.rows, plan.texts, plan.changes, strict=True)
        ]
        return {name: torch.from_numpy(array) for name, array in collate(examples, self.pad_id).items()}

    def _frames(self, row: Row, change: Change | None) -> NDArray[np.uint8]:
        if row.video is None:
            return np.zeros(self.spec.frames_shape, np.uint8)
        try:
            frames = self.store.frames(row)
        except Exception as error:  # whatever the store's library raises: the row must be named
            raise RowError(f"row {row.id}: its frames cannot be read: {type(error).__name__}: {error}") from error
        if frames.shape != self.spec.frames_shape:
            raise RowError(f"row {row.id}: its frames are {frames.shape}, not {self.spec.frames_shape}")
        return frames if change is None else apply_change(frames, change)
