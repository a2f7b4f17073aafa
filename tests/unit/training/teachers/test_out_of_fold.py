"""Out-of-fold logits without training: who is asked of which rows, and where the class shares stand in."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contract.decision import TaskKind, TaskSpec
from tests.unit.training.conftest import Toy
from training.data.loading.row_set import RowSet
from training.data.manifest import Row
from training.data.targets import task_targets
from training.teachers import cross_fitting
from training.teachers.cross_fitting import CrossFitWarning, assign_parts, out_of_fold_logits

BINARY = TaskSpec(name="risky", kind=TaskKind.BINARY, labels=("no", "yes"))
KINDS = TaskSpec(name="kind", kind=TaskKind.MULTICLASS, labels=("a", "b", "c"), flag_labels=("c",))
SAYS = {"left": 2.0, "right": -3.0}


@pytest.fixture(autouse=True)
def _teachers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two teachers that say the same of every row: ``left`` 2 and ``right`` -3, in every logit."""

    def predict(model: str, rows: RowSet, tasks: Sequence[TaskSpec]) -> dict[str, NDArray[np.float32]]:
        return {task.name: np.full((len(rows.rows), task.logits_width), SAYS[model], np.float32) for task in tasks}

    monkeypatch.setattr(cross_fitting, "read_checkpoint", lambda path: (path.name, SimpleNamespace(privileged=None)))
    monkeypatch.setattr(cross_fitting, "predict", predict)


def row(name: str, **labels: str) -> Row:
    return Row(id=name, texts={"title": name}, labels=dict(labels), group=name)


def asked(toy: Toy, task: TaskSpec, labels: Sequence[str | None], parts: Sequence[int]) -> NDArray[np.float32]:
    rows = [row(f"r{i}", **({} if label is None else {task.name: label})) for i, label in enumerate(labels)]
    template = toy.parts["train"]
    texts = [template.tokenizer.encode(one.texts) for one in rows]
    train = replace(template, rows=rows, texts=texts, targets={task.name: task_targets(rows, task)})
    return out_of_fold_logits([Path("left"), Path("right")], train, np.asarray(parts), [task])[task.name]


def test_a_row_is_judged_by_the_teacher_of_its_own_part(toy: Toy) -> None:
    found = asked(toy, BINARY, ["yes", "no", "yes", "no"], [0, 0, 1, 1])
    assert found.tolist() == [[2.0], [2.0], [-3.0], [-3.0]]


@pytest.mark.parametrize(("seen", "share"), [("no", 3 / 7), ("yes", 4 / 7)])
def test_a_teacher_that_saw_one_answer_only_is_no_teacher(toy: Toy, seen: str, share: float) -> None:
    other = "yes" if seen == "no" else "no"
    # Part 1 was taught by rows of part 0, which hold one answer; part 0 by rows that hold both.
    labels, parts = [seen, seen, seen, other, other], [0, 0, 1, 1, 1]
    with pytest.warns(CrossFitWarning, match="risky: the rows outside part 1 hold fewer than two classes") as told:
        found = asked(toy, BINARY, labels, parts)
    assert len(told) == 1
    assert found[:2].tolist() == [[2.0], [2.0]]
    assert 1 / (1 + np.exp(-found[2:])) == pytest.approx(np.full((3, 1), share), abs=1e-6)


def test_of_several_classes_one_alone_teaches_none(toy: Toy) -> None:
    with pytest.warns(CrossFitWarning) as told:
        found = asked(toy, KINDS, ["a", "a", "a", "b", "c"], [0, 0, 1, 1, 1])
    assert [str(one.message) for one in told] == [
        "kind: the rows outside part 1 hold fewer than two classes: no teacher for it"
    ]
    assert found[:2].tolist() == [[2.0] * 3] * 2
    assert np.exp(found[2:]) == pytest.approx(np.tile([4 / 8, 2 / 8, 2 / 8], (3, 1)), abs=1e-6)


def test_nothing_is_told_of_a_part_that_asks_nothing_of_the_task(toy: Toy) -> None:
    """Part 1 holds no label of it: that its teacher saw one answer only harms nobody, and its logits stay."""
    with pytest.warns(CrossFitWarning) as told:
        found = asked(toy, BINARY, ["yes", "yes", None, None], [0, 0, 1, 1])
    assert ["part 0" in str(one.message) for one in told] == [True]
    assert found[2:].tolist() == [[-3.0], [-3.0]]


@pytest.mark.parametrize("seed", range(6))
def test_a_large_group_is_dealt_first_so_that_small_ones_can_make_up_for_it(seed: int) -> None:
    rows = [row(f"small{i}", risky="no") for i in range(6)]
    rows += [row("large", risky="no").model_copy(update={"id": f"large{i}", "texts": {}}) for i in range(6)]
    with warnings.catch_warnings():
        warnings.simplefilter("error", CrossFitWarning)
        parts = assign_parts([_told_apart(one, i) for i, one in enumerate(rows)], 2, seed)
    assert np.bincount(parts).tolist() == [6, 6]
    assert len(set(parts[6:].tolist())) == 1


def _told_apart(one: Row, i: int) -> Row:
    """With a text that no other row has: ``text_key`` does not tell numbers apart."""
    texts: dict[str, Any] = {"title": chr(ord("a") + i) * 3}
    return one.model_copy(update={"texts": texts})
