"""Cross-fitting: parts share no group, and what a teacher learned by heart is of no use to it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from contract.decision import TaskKind, TaskSpec
from tests.unit.training.conftest import Toy
from training.config import RunConfig, TeacherConfig
from training.data.connected_rows import connected_groups, groups_of_titles
from training.data.loading.row_set import with_privileged
from training.data.manifest import PrivilegedGroup, Row
from training.data.privileged import PrivilegedStatistics
from training.data.targets import task_targets
from training.fitting.checkpoint import read_card, read_checkpoint
from training.fitting.fit import fit
from training.fitting.predict import predict
from training.teachers.cross_fitting import CrossFitCard, CrossFitWarning, assign_parts, out_of_fold_logits
from training.teachers.soft_targets import SoftTargetsError, read_soft_targets, write_cross_fitted
from training.teachers.trial_teachers import Teachers

RISKY = TaskSpec(name="risky", kind=TaskKind.BINARY, labels=("no", "yes"))


@pytest.fixture
def short(tiny_config: RunConfig) -> RunConfig:
    """One epoch."""
    return tiny_config.model_copy(update={"optimiser": tiny_config.optimiser.model_copy(update={"epochs": 1})})


@pytest.fixture
def teachers(toy: Toy, short: RunConfig, tmp_path: Path) -> Teachers:
    statistics = PrivilegedStatistics.fit(toy.parts["train"].rows, toy.manifest.privileged_groups)
    return Teachers(tmp_path, toy.data, short, statistics, 0)


def grouped_rows(groups: int, seed: int) -> list[Row]:
    """Groups of one to five rows; one row in eight is positive."""
    rng = np.random.default_rng(seed)
    rows = []
    for g in range(groups):
        for i in range(int(rng.integers(1, 6))):
            label = "yes" if rng.random() < 1 / 8 else "no"
            rows.append(Row(id=f"{g}-{i}", texts={"title": letters(g, i)}, labels={"risky": label}, group=f"g{g}"))
    return rows


def letters(*numbers: int) -> str:
    """A text of letters of its own: ``text_key`` does not tell numbers apart."""
    return " ".join("".join(chr(ord("a") + int(digit)) for digit in str(number)) for number in numbers)


@pytest.mark.parametrize("folds", [2, 3, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_parts_share_no_group_and_cover_every_row_with_alike_shares(folds: int, seed: int) -> None:
    rows = grouped_rows(80, seed)
    parts = assign_parts(rows, folds, seed)
    assert len(parts) == len(rows)
    assert set(parts.tolist()) == set(range(folds))
    for group in {row.group for row in rows}:
        assert len({int(p) for row, p in zip(rows, parts, strict=True) if row.group == group}) == 1
    sizes = Counter(parts.tolist())
    positives = Counter(int(p) for row, p in zip(rows, parts, strict=True) if row.labels["risky"] == "yes")
    assert max(sizes.values()) - min(sizes.values()) <= 5  # a group's size
    assert max(positives.values()) - min(positives[p] for p in range(folds)) <= 3


def test_parts_follow_groups_and_seed_and_not_the_order_of_rows() -> None:
    rows = grouped_rows(30, 0)
    parts = dict(zip((row.id for row in rows), assign_parts(rows, 3, 4).tolist(), strict=True))
    turned = rows[::-1]
    assert parts == dict(zip((row.id for row in turned), assign_parts(turned, 3, 4).tolist(), strict=True))
    assert assign_parts(rows, 3, 4).tolist() != assign_parts(rows, 3, 5).tolist()


def test_positives_of_few_groups_are_dealt_out_first() -> None:
    """Four groups, two of them with all the positives: each part gets one of those."""
    labels = {"a": ["yes"] * 3 + ["no"] * 3, "b": ["yes"] * 3 + ["no"], "c": ["no"] * 9, "d": ["no"] * 8}
    rows = [
        Row(id=f"{group}{i}", texts={"title": group + letters(i)}, labels={"risky": label}, group=group)
        for group, given in labels.items()
        for i, label in enumerate(given)
    ]
    parts = dict(zip((row.group for row in rows), assign_parts(rows, 2, 0).tolist(), strict=True))
    assert parts["a"] != parts["b"]
    with pytest.raises(ValueError, match="there are 4"):
        assign_parts(rows, 5, 0)


def row_of(name: str, group: str, title: str, video: str | None = None) -> Row:
    return Row(id=name, texts={"title": title}, labels={"risky": "no"}, group=group, video=video)


def test_groups_that_share_a_clip_or_a_text_stand_in_one_part() -> None:
    """A composed row shows one row's clip under another's title: a teacher told of either has seen a part of it."""
    rows = [
        row_of("clip", "a", "untitled", "a.mp4"),
        row_of("title", "b", "Ten things, number 3"),
        row_of("composed", "c", "TEN things! Number 7", "a.mp4"),
        row_of("other clip", "d", "untitled", "d.mp4"),
        row_of("other title", "e", "quiet evening"),
        row_of("wordless", "f", "!!!"),
        row_of("wordless too", "g", "123"),
    ]
    assert connected_groups(rows) == ["a", "a", "a", "d", "e", "f", "g"]
    assert groups_of_titles(rows) == {"composed": "b"}
    for seed in range(5):
        parts = assign_parts(rows, 2, seed)
        assert len(set(parts[:3].tolist())) == 1
        assert len(set(parts.tolist())) == 2


def test_rows_that_are_nearly_all_connected_are_told_of() -> None:
    rows = [row_of(f"r{i}", f"g{i}", "the same", "same.mp4") for i in range(9)]
    with pytest.warns(CrossFitWarning, match="90% of the rows"):
        assign_parts([*rows, row_of("free", "free", "alone")], 2, 0)
    with pytest.raises(ValueError, match="there are 1"):
        assign_parts(rows, 2, 0)


def test_an_out_of_fold_teacher_cannot_use_what_it_learned_by_heart(toy: Toy, short: RunConfig, tmp_path: Path) -> None:
    """Noise in 40 columns, labels at random: a teacher knows its own rows by heart, and of others nothing."""
    rng = np.random.default_rng(0)
    leak = PrivilegedGroup(name="leak", features=tuple(f"f{i}" for i in range(40)))
    template = toy.parts["train"]
    rows = [
        Row(
            id=f"r{i}",
            texts={"title": letters(i)},
            labels={"risky": "yes" if i % 2 else "no"},
            privileged={"leak": dict(zip(leak.features, rng.normal(size=40).tolist(), strict=True))},
            group=f"g{i}",
        )
        for i in range(64)
    ]
    texts = [template.tokenizer.encode(row.texts) for row in rows]
    train = replace(template, rows=rows, texts=texts, targets={"risky": task_targets(rows, RISKY)})
    options = short.optimiser.model_copy(update={"epochs": 12, "lr": 5e-3})
    config = short.model_copy(update={"optimiser": options, "teacher": TeacherConfig(dropout=0.0)})
    data = replace(toy.data, train=train, val=train, tasks=(RISKY,))
    teachers = Teachers(tmp_path, data, config, PrivilegedStatistics.fit(rows, [leak]), 0)
    labels = train.targets["risky"].values
    own, crossed = (teachers.get(role).soft_targets["risky"][:, 0] for role in ("privileged", "privileged_crossfit"))
    assert roc_auc_score(labels, own) > 0.95
    assert 0.3 < roc_auc_score(labels, crossed) < 0.7
    assert np.abs(crossed - own).max() > 0.1


def test_the_cross_fitted_teacher_is_its_parts(toy: Toy, teachers: Teachers) -> None:
    taught = teachers.get("privileged_crossfit")
    train, card = toy.parts["train"], taught.card
    assert isinstance(card, CrossFitCard)
    parts = assign_parts(train.rows, 2, 0)
    cards = [read_card(teachers.home / f"teacher_crossfit_{part}") for part in range(2)]
    assert card.teachers == tuple(one.digest() for one in cards)
    assert [one.train_rows for one in cards] == [int((parts != part).sum()) for part in range(2)]
    assert cards[0].privileged != cards[1].privileged  # each standardised on the rows it saw
    assert set(card.temperatures) == {task.name for task in toy.manifest.tasks}
    for part, directory in enumerate(teachers.home / f"teacher_crossfit_{part}" for part in range(2)):
        model, own = read_checkpoint(directory)
        assert own.privileged is not None
        alone = predict(model, with_privileged(train, own.privileged), own.tasks)["shape"]
        assert np.allclose(taught.soft_targets["shape"][parts == part], alone[parts == part], atol=1e-5)
        assert not np.allclose(taught.soft_targets["shape"][parts != part], alone[parts != part], atol=1e-5)
    again = Teachers(teachers.home, toy.data, teachers.config, teachers.statistics, 0).get("privileged_crossfit")
    assert again.card == card
    assert all(np.array_equal(again.soft_targets[name], value) for name, value in taught.soft_targets.items())


def test_plain_teachers_are_cross_fitted_in_the_same_parts_without_privileged_features(
    toy: Toy, teachers: Teachers
) -> None:
    taught, privileged = (teachers.get(role).card for role in ("plain_crossfit", "privileged_crossfit"))
    assert isinstance(taught, CrossFitCard)
    assert isinstance(privileged, CrossFitCard)
    assert taught.parts_digest == privileged.parts_digest
    cards = [read_card(teachers.home / f"teacher_plain_crossfit_{part}") for part in range(2)]
    assert taught.teachers == tuple(one.digest() for one in cards)
    assert {(one.role, one.privileged) for one in cards} == {("plain_teacher", None)}
    with pytest.raises(SoftTargetsError, match="several teachers"):
        teachers.features("plain_crossfit")


def test_out_of_fold_soft_targets_of_other_teachers_are_refused(toy: Toy, teachers: Teachers, short: RunConfig) -> None:
    taught = teachers.get("privileged_crossfit")
    train, home = toy.parts["train"], teachers.home / "soft_targets_privileged_crossfit"
    directories = [teachers.home / f"teacher_crossfit_{part}" for part in range(2)]
    cards = [read_card(directory) for directory in directories]
    parts = assign_parts(train.rows, 2, 0)
    with pytest.raises(SoftTargetsError, match="other teachers or other parts"):
        write_cross_fitted(home, directories, cards[::-1], train, parts)
    with pytest.raises(SoftTargetsError, match="other teachers or other parts"):
        write_cross_fitted(home, directories, cards, train, 1 - parts)
    with pytest.raises(SoftTargetsError, match="another teacher"):
        read_soft_targets(home / "soft_targets.npz", cards[0], train)
    rows = replace(toy.data, train=replace(train, soft_targets=taught.soft_targets))
    student = fit(teachers.home / "student", rows, short, method="cpfd_crossfit", seed=0, teacher=taught.card)
    assert student.teacher_digest == taught.card.digest()


def test_a_task_in_one_group_has_no_out_of_fold_teacher(toy: Toy, teachers: Teachers) -> None:
    """All rows with topics in one part: the part's teacher never saw one, and the class shares stand in."""
    train = toy.parts["train"]
    teachers.get("privileged_crossfit")
    parts = np.where(train.targets["topics"].labelled, 0, 1)
    directories = [teachers.home / f"teacher_crossfit_{part}" for part in range(2)]
    with pytest.warns(CrossFitWarning, match="topics"):
        logits = out_of_fold_logits(directories, train, parts, toy.manifest.tasks)["topics"]
    values = train.targets["topics"].values[parts == 0]
    share = (values.sum(axis=0) + 1) / (len(values) + 2)
    assert np.allclose(1 / (1 + np.exp(-logits[parts == 0])), share, atol=1e-6)


def test_a_label_and_a_class_that_a_teacher_never_saw_are_told(toy: Toy, teachers: Teachers) -> None:
    """Label by label in a multilabel task; of several classes the one that lacks is named, and the head stays."""
    train = toy.parts["train"]
    teachers.get("privileged_crossfit")
    directories = [teachers.home / f"teacher_crossfit_{part}" for part in range(2)]
    topics, shape = train.targets["topics"], train.targets["shape"]
    name, kind = topics.task.labels[0], shape.task.labels[0]
    without_kind = (shape.labelled & (shape.values == 0)).astype(np.int64)
    with pytest.warns(CrossFitWarning) as told:
        out_of_fold_logits(directories, train, without_kind, toy.manifest.tasks)
    message = f"shape: the rows outside part 1 hold no {kind}: its teacher takes such rows for others"
    assert message in [str(one.message) for one in told]
    parts = (topics.labelled & (topics.values[:, 0] == 1)).astype(np.int64)
    with pytest.warns(CrossFitWarning) as told:
        logits = out_of_fold_logits(directories, train, parts, toy.manifest.tasks)["topics"]
    message = f"topics: the rows outside part 1 hold one answer only to {name}: no teacher for it"
    assert message in [str(one.message) for one in told]
    asked = logits[(parts == 1) & topics.labelled]
    values = topics.values[topics.labelled]
    share = (values[:, 0].sum() + 1) / (len(values) + 2)
    assert np.allclose(1 / (1 + np.exp(-asked[:, 0])), share, atol=1e-6)
    assert len(np.unique(asked[:, 1])) > 1
