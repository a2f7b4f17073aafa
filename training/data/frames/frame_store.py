"""Where the frames of a row come from, as batches see it: a cache of decoded clips, or shards."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contract.input_spec import InputSpec
from training.data.manifest import Row


class FrameStore(Protocol):
    """The frames of a set of rows. A store is sent to worker processes, so it can be pickled."""

    @property
    def spec(self) -> InputSpec:
        """Which frames, how large."""
        ...

    @property
    def failed(self) -> Mapping[str, str]:
        """Row id -> why there are no frames: a code of ``contract.errors`` or of ``frame_cache``."""
        ...

    @property
    def failures(self) -> dict[str, int]:
        """Code -> how many rows it cost."""
        ...

    def frames(self, row: Row) -> NDArray[np.uint8]:
        """(T, S, S, 3) uint8 RGB; perhaps read-only.

        Raises:
            KeyError: the row has no video, its clip failed, or the store was not made for it.
        """
        ...
