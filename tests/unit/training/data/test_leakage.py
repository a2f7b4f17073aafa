"""The leakage report finds a planted label, and looks at training rows alone."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from contract.decision import TaskKind, TaskSpec
from training.__main__ import app
from training.data.leakage import PRESENCE, FlagLeakage, drop_features, leakage_report, most_telling, render, warnings
from training.data.manifest import Manifest, PrivilegedGroup, Row, Split
from training.data.manifest_io import read_manifest, write_manifest

TASKS = (
    TaskSpec(name="bad", kind=TaskKind.BINARY, labels=("no", "yes")),
    TaskSpec(name="topics", kind=TaskKind.MULTILABEL, labels=("p", "q", "r"), flag_labels=("p", "q")),
)
GROUPS = (
    PrivilegedGroup(name="review", features=("verdict", "strength", "noise", "constant")),
    PrivilegedGroup(name="late", features=("reports",)),
)


def manifest(rows: int = 240, split: Split = "train") -> Manifest:
    """``verdict`` is the label upside down, ``strength`` tells it in part; ``late`` is measured on flagged rows."""
    draw = np.random.default_rng(0)
    made = []
    for n in range(rows):
        bad = n % 3 == 0
        late = {"late": {"reports": float(draw.normal())}} if bad else {}
        review = {
            "verdict": -5.0 if bad else 2.0,
            "strength": float(bad + draw.normal()),
            "noise": float(draw.normal()) if n % 4 else None,
            "constant": 1.0,
        }
        labels: dict[str, str | list[str]] = {"bad": "yes" if bad else "no"}
        if n % 2:
            labels["topics"] = ["p"] if review["noise"] is not None and review["noise"] > 0 else ["r"]
        made.append(
            Row(id=str(n), texts={"title": "t"}, labels=labels, privileged={"review": review} | late, split=split,
                group=str(n))
        )  # fmt: skip
    return Manifest(name="planted", tasks=TASKS, privileged_groups=GROUPS, rows=tuple(made))


@pytest.fixture(scope="module")
def flags() -> dict[tuple[str, str | None], FlagLeakage]:
    return {(flag.task, flag.label): flag for flag in leakage_report(manifest()).flags}


def test_a_planted_label_comes_first_whatever_its_sign(flags: dict[tuple[str, str | None], FlagLeakage]) -> None:
    first, presence, second = flags["bad", None].features[:3]
    assert {(first.group, first.feature), (presence.group, presence.feature)} == {
        ("late", PRESENCE),
        ("review", "verdict"),
    }
    entropy = -(math.log(1 / 3) / 3 + math.log(2 / 3) * 2 / 3)
    for one in (first, presence):
        assert one.auc == 1.0
        assert one.suspicious
        assert one.mutual_information == pytest.approx(entropy, abs=1e-9)
    assert second.feature == "strength"
    assert second.auc == pytest.approx(0.76, abs=0.06)  # of two unit normals one apart: Phi(1 / sqrt 2)
    assert not second.suspicious
    assert 0 < second.mutual_information < first.mutual_information
    assert (first.rows, first.positives) == (240, 80)


def test_what_cannot_be_measured_is_named(flags: dict[tuple[str, str | None], FlagLeakage]) -> None:
    assert set(flags["bad", None].not_measured) == {"review.constant", "review.(present)", "late.reports"}


def test_each_label_of_a_multilabel_task_that_flags_is_a_flag_of_its_own(
    flags: dict[tuple[str, str | None], FlagLeakage],
) -> None:
    assert set(flags) == {("bad", None), ("topics", "p"), ("topics", "q")}
    noise = flags["topics", "p"].features[0]
    assert (noise.feature, noise.auc, noise.rows) == ("noise", 1.0, 120)
    share = noise.positives / noise.rows
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert 0.5 < noise.mutual_information <= entropy  # from neighbours: the feature has many values
    assert flags["topics", "q"].features == ()


def test_only_training_rows_are_read() -> None:
    train, test = manifest(), manifest(60, "test")
    both = train.model_copy(
        update={"rows": train.rows + tuple(r.model_copy(update={"id": f"t{r.id}"}) for r in test.rows)}
    )
    assert leakage_report(both).flags == leakage_report(train).flags


def test_the_threshold_decides_what_is_warned_of() -> None:
    low = leakage_report(manifest(), threshold=0.6)
    assert any("review.strength alone" in line for line in warnings(low))
    high = leakage_report(manifest())
    assert not any("review.strength" in line for line in warnings(high))
    assert "| bad | review.verdict | 1.000 |" in render(high)


def test_dropping_takes_features_and_emptied_groups() -> None:
    found = manifest()
    names = most_telling(leakage_report(found), 1)
    assert set(names) == {("review", "verdict"), ("review", "noise")}
    less = drop_features(found, (*names, ("late", "reports")))
    assert [(group.name, group.features) for group in less.privileged_groups] == [("review", ("strength", "constant"))]
    assert all(set(row.privileged) == {"review"} for row in less.rows)
    assert all(set(row.privileged["review"]) == {"strength", "constant"} for row in less.rows)
    assert less.digest() != found.digest()
    assert drop_features(found, ()) == found


def test_the_command_reports_and_writes_the_lesser_manifest(tmp_path: Path) -> None:
    write_manifest(manifest(), tmp_path / "m")
    given = ["leakage", "--manifest", str(tmp_path / "m")]
    out = CliRunner().invoke(app, [*given, "--drop-top", "1", "--out", str(tmp_path / "less")])
    assert out.exit_code == 0
    document = json.loads(out.stdout)
    assert document["flags"][0]["features"][0]["suspicious"] is True
    assert set(document["dropped"]) == {"review.verdict", "review.noise"}
    assert "may be the label itself" in out.stderr
    assert read_manifest(tmp_path / "less").privileged_groups[0].features == ("strength", "constant")
    assert CliRunner().invoke(app, [*given, "--drop-top", "1"]).exit_code == 2
