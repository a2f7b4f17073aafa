"""One graph or two as one model, over sessions that only count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.bundle_manifest import REST, VISION, WHOLE
from contract.decision import TaskKind, TaskSpec
from contract.model_graphs import FEATURES, MOMENTS, ModelGraphs, moment_scores

BINARY = TaskSpec(name="violence", kind=TaskKind.BINARY, labels=("calm", "violent"))
MULTICLASS = TaskSpec(name="object", kind=TaskKind.MULTICLASS, labels=("none", "drone", "gun"), flag_labels=("gun",))
MULTILABEL = TaskSpec(name="topics", kind=TaskKind.MULTILABEL, labels=("news", "sport"))
M, P, S, F = 3, 2, 4, 5


class Stub:
    """Keeps what it is fed; gives each output by its name and the feeds."""

    def __init__(self, inputs: Sequence[str], answer: Any) -> None:
        self._inputs, self._answer = inputs, answer
        self.fed: list[dict[str, NDArray[Any]]] = []

    def get_inputs(self) -> Sequence[Any]:
        return [SimpleNamespace(name=name) for name in self._inputs]

    def run(self, output_names: Sequence[str], feeds: Mapping[str, Any]) -> Sequence[Any]:
        self.fed.append(dict(feeds))
        return [self._answer(name, feeds) for name in output_names]


def _tower() -> Stub:
    """F numbers of a moment: the value of its first and of its last picture, and ones, which no zeros look like."""

    def answer(name: str, feeds: Mapping[str, Any]) -> NDArray[np.float32]:
        assert name == FEATURES
        moments = feeds[MOMENTS]
        assert moments.shape[1:] == (P, S, S, 3)
        ones = np.ones((len(moments), F - 2))
        return np.column_stack([moments[:, 0, 0, 0, 0], moments[:, -1, 0, 0, 0], ones]).astype(np.float32)

    return Stub([MOMENTS], answer)


def _rest() -> Stub:
    return Stub([FEATURES, "input_ids"], lambda name, feeds: name)


def _graphs(tower: Stub, rest: Stub, **options: Any) -> ModelGraphs:
    return ModelGraphs((BINARY, MULTILABEL), {VISION: tower, REST: rest}, (M, F), **options)


def _feeds(present: Sequence[int]) -> dict[str, NDArray[Any]]:
    values = np.arange(len(present) * M * P, dtype=np.uint8).reshape(len(present), M * P, 1, 1, 1)
    return {
        "frames": np.broadcast_to(values, (len(present), M * P, S, S, 3)),
        "video_present": np.asarray(present, np.int64),
        "input_ids": np.zeros((len(present), 7), np.int64),
    }


@pytest.mark.parametrize("every_row", [False, True])
def test_a_batch_of_text_never_calls_the_tower(every_row: bool) -> None:
    tower, rest = _tower(), _rest()
    _graphs(tower, rest, every_row=every_row).run(_feeds([0, 0]))
    assert tower.fed == []
    assert rest.fed[0][FEATURES].shape == (2, M, F)
    assert not rest.fed[0][FEATURES].any()


@pytest.mark.parametrize("at_once", [0, 1, 2, 4, 100])
def test_features_land_in_their_rows_however_many_moments_go_at_once(at_once: int) -> None:
    tower, rest = _tower(), _rest()
    feeds = _feeds([0, 1, 0, 1])
    _graphs(tower, rest, moments_at_once=at_once).run(feeds)
    found = rest.fed[0][FEATURES]
    values = feeds["frames"][:, :, 0, 0, 0].reshape(4, M, P)
    for row, present in enumerate([0, 1, 0, 1]):
        assert (found[row, :, 2:] == present).all()
        np.testing.assert_array_equal(found[row, :, :2], values[row][:, [0, -1]] * present)
    sizes = [len(fed[MOMENTS]) for fed in tower.fed]
    assert sum(sizes) == 2 * M
    assert len(sizes) == -(-2 * M // (at_once or 2 * M))
    assert max(sizes) <= (at_once or 2 * M)


def test_every_row_goes_through_the_tower_where_it_is_told_so() -> None:
    tower, rest = _tower(), _rest()
    _graphs(tower, rest, every_row=True, moments_at_once=0).run(_feeds([0, 1]))
    assert [len(fed[MOMENTS]) for fed in tower.fed] == [2 * M]
    assert (rest.fed[0][FEATURES][:, :, 2:] == 1).all()


def test_a_graph_is_fed_no_input_that_it_lacks() -> None:
    tower, rest = _tower(), _rest()
    _graphs(tower, rest).run(_feeds([1]))
    assert set(tower.fed[0]) == {MOMENTS}
    assert set(rest.fed[0]) == {FEATURES, "input_ids"}
    whole = Stub(["frames"], lambda name, feeds: name)
    found = ModelGraphs((BINARY, MULTILABEL), {WHOLE: whole}).run(_feeds([1]))
    assert set(whole.fed[0]) == {"frames"}
    assert found == {"violence": "logits_violence", "topics": "logits_topics"}


def test_evidence_stands_beside_the_logits_of_the_tasks_that_have_it() -> None:
    found = _graphs(_tower(), _rest(), evidence_names=("evidence_topics",)).run(_feeds([1]))
    assert found == {
        "violence": "logits_violence",
        "topics": "logits_topics",
        "evidence:topics": "evidence_topics",
    }


def test_moment_scores_by_hand() -> None:
    binary = moment_scores(np.asarray([[2.0], [-1.0]]), BINARY, 2.0)
    np.testing.assert_allclose(binary, [1.0, -0.5])
    one_flag = moment_scores(np.asarray([[1.0, 3.0, 8.0], [4.0, 0.0, 1.0]]), MULTICLASS, 2.0)
    np.testing.assert_allclose(one_flag, [3.0, -0.5])
    all_flag = moment_scores(np.asarray([[1.0, 4.0], [-2.0, -6.0]]), MULTILABEL, 2.0)
    np.testing.assert_allclose(all_flag, [2.0, -1.0])
    two_flags = MULTICLASS.model_copy(update={"flag_labels": ("drone", "gun")})
    np.testing.assert_allclose(moment_scores(np.asarray([[1.0, 3.0, 8.0]]), two_flags, 1.0), [4.5])


def test_another_arm_of_the_same_tower_reads_what_it_gave() -> None:
    tower, rest = _tower(), _rest()
    kept = _graphs(tower, rest, keep_features=True).run(_feeds([1, 0]))[FEATURES]
    assert kept.shape == (2, M, F)
    again, other = _tower(), _rest()
    found = _graphs(again, other).run(_feeds([1, 0]) | {FEATURES: kept})
    assert again.fed == []
    assert (other.fed[0][FEATURES] == rest.fed[0][FEATURES]).all()
    assert FEATURES not in found
