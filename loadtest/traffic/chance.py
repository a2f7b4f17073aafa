"""Where chance comes from in a run: streams that a seed repeats, and no two of which are alike."""

from __future__ import annotations

import random


class Chance:
    """The streams of one process.

    Args:
        seed: of the whole run; None: another one each time.
        worker: the process's place among the workers of a distributed run; None where it is the only one.
    """

    def __init__(self, seed: int | None, worker: int | None = None) -> None:
        self._name = None if seed is None else f"{seed}" if worker is None else f"{seed}/worker{worker}"

    def stream(self, *parts: int | str) -> random.Random:
        """The stream named ``parts``: the same for the same seed, worker and parts, and for no others."""
        return random.Random(None if self._name is None else "/".join([self._name, *map(str, parts)]))
