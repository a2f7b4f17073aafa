"""Stored predictions: whose they are, and that no other checkpoint's are read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.unit.training.conftest import Toy
from training.config import RunConfig
from training.experiment.paired_predictions import PAIRED_FILE, read_paired, write_paired_predictions
from training.experiment.predictions import (
    PREDICTIONS_FILE,
    PredictionsError,
    is_stored,
    read_predictions,
    require_stored,
    write_predictions,
)
from training.fitting.checkpoint import CARD_FILE, read_card
from training.fitting.fit import fit


@pytest.fixture
def two(toy: Toy, tiny_config: RunConfig, tmp_path: Path) -> tuple[Path, Path]:
    """Folders of checkpoints of two seeds."""
    config = tiny_config.model_copy(update={"optimiser": tiny_config.optimiser.model_copy(update={"epochs": 1})})
    for seed in (0, 1):
        fit(tmp_path / str(seed), toy.data, config, method="ce", seed=seed)
    return tmp_path / "0", tmp_path / "1"


def test_predictions_of_a_replaced_checkpoint_are_refused_and_then_made_again(toy: Toy, two: tuple[Path, Path]) -> None:
    one, other = two
    test = toy.parts["test"]
    for directory in two:
        write_predictions(directory, test)
        write_paired_predictions(directory, test)
    own = {directory: read_predictions(directory, test) for directory in two}
    for file in (CARD_FILE, "weights.pt"):
        (other / file).replace(one / file)
    with pytest.raises(PredictionsError, match="another checkpoint"):
        read_predictions(one, test)
    with pytest.raises(PredictionsError, match="another checkpoint"):
        read_paired(one, "logits_shape", {row.id for row in test.rows})
    write_predictions(one, test)
    write_paired_predictions(one, test)
    again = read_predictions(one, test)
    assert all(np.array_equal(again[name], values) for name, values in own[other].items())
    assert not np.array_equal(again["shape"], own[one]["shape"])
    require_stored(one / PAIRED_FILE)


def test_a_file_from_before_the_name_was_kept_is_taken_as_it_is(toy: Toy, two: tuple[Path, Path]) -> None:
    path = two[0] / PREDICTIONS_FILE
    write_predictions(two[0], toy.parts["test"])
    with np.load(path) as arrays:
        older = {name: values for name, values in arrays.items() if name != "checkpoint"}
    np.savez(path, **older)  # type: ignore[arg-type]
    before = path.stat().st_mtime_ns
    write_predictions(two[0], toy.parts["test"])
    assert path.stat().st_mtime_ns == before
    assert is_stored(path, read_card(two[1]))


def test_predictions_of_other_rows_are_refused(toy: Toy, two: tuple[Path, Path]) -> None:
    write_predictions(two[0], toy.parts["test"])
    with pytest.raises(PredictionsError, match="other rows"):
        read_predictions(two[0], toy.parts["val"])
    with pytest.raises(FileNotFoundError, match=PREDICTIONS_FILE):
        read_predictions(two[1], toy.parts["test"])
