"""A small synthetic manifest, decoded and tokenised once for the suites that train."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from contract.text import TextTokenizer
from contract.video import DecodeLimits
from training.config import RunConfig
from training.data.frames.frame_cache import FrameCache
from training.data.loading.row_set import RowSet, row_set
from training.data.manifest import Manifest, Split
from training.data.synthetic import generate
from training.data.tokenizer import train_tokenizer
from training.fitting.fit import FitData


@dataclass(frozen=True)
class Toy:
    """Everything a fit needs."""

    manifest: Manifest
    parts: dict[Split, RowSet]
    tokenizer_path: Path

    @property
    def data(self) -> FitData:
        return FitData(
            self.parts["train"],
            self.parts["val"],
            self.manifest.tasks,
            self.manifest.digest(),
            test_fold=0,
            skipped_rows=0,
            tokenizer_path=self.tokenizer_path,
        )


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory, tiny_config: RunConfig) -> Toy:
    home = tmp_path_factory.mktemp("toy")
    manifest = generate(home / "data", clips=24, titles=36, seed=3)
    rows = manifest.split_rows(0)
    tokenizer_path = home / "tokenizer.json"
    train_tokenizer((t for row in rows["train"] for t in row.texts.values()), 400, tokenizer_path)
    spec = tiny_config.input_spec
    clips = [row for row in manifest.rows if row.video is not None]
    cache = FrameCache.build(clips, manifest.video_path, spec, DecodeLimits(), home / "cache", progress=False)
    tokenizer = TextTokenizer(tokenizer_path, spec)
    parts = {split: row_set(part, manifest.tasks, spec, tokenizer, cache) for split, part in rows.items()}
    return Toy(manifest, parts, tokenizer_path)
