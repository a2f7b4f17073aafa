"""A small corpus, made once, and records without a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.traffic.corpus import Corpus, Recipe, build_corpus, load_corpus

TINY = Recipe(sizes=((96, 64),), seconds=(0.4,))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return load_corpus(build_corpus(tmp_path_factory.mktemp("corpus") / "tiny", TINY))


@pytest.fixture
def objectives_path() -> Path:
    return Path(__file__).parents[3] / "configs" / "objectives.yaml"
