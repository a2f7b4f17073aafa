"""A search on validation rows: what is drawn, what is kept, and that it goes on where it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.training.conftest import Toy
from training.config import ConfigError, RunConfig, read_config
from training.experiment import tune as tuning
from training.experiment.plan import ExperimentPlan, Trial, Workplace
from training.experiment.tune import FieldSpace, TuningSpace, read_space, tune

CONFIGS = Path(__file__).resolve().parents[4] / "configs"
SPACE = TuningSpace(
    fields={
        "optimiser.lr": FieldSpace(low=1e-4, high=1e-2, log=True),
        "distillation.lam": FieldSpace(choices=(0.2, 0.8)),
    }
)


def test_the_committed_space_is_of_learning_rate_lambda_and_temperature() -> None:
    assert set(read_space(CONFIGS / "tune.yaml").fields) == {
        "optimiser.lr",
        "distillation.lam",
        "distillation.temperature",
    }


def test_the_first_try_is_the_preset_and_others_are_drawn_within_bounds() -> None:
    assert SPACE.draw(0, 0) == {}
    drawn = [SPACE.draw(0, n) for n in range(1, 200)]
    rates = [one["optimiser.lr"] for one in drawn]
    assert 1e-4 <= min(rates) < 2e-4
    assert 5e-3 < max(rates) <= 1e-2
    assert 0.35 < sum(rate < 1e-3 for rate in rates) / len(rates) < 0.65, "evenly in the logarithm"
    assert {one["distillation.lam"] for one in drawn} == {0.2, 0.8}
    assert drawn == [SPACE.draw(0, n) for n in range(1, 200)]
    assert SPACE.draw(1, 1) != SPACE.draw(0, 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"low": 1.0},
        {},
        {"low": 2.0, "high": 1.0},
        {"low": 0.0, "high": 1.0, "log": True},
        {"low": 0, "high": 1, "choices": [1]},
    ],
)
def test_a_faulty_space_is_refused(fields: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "tune.yaml"
    path.write_text(json.dumps({"fields": {"optimiser.lr": fields}}))
    with pytest.raises(ConfigError, match=r"fields\.optimiser\.lr"):
        read_space(path)


def planned(toy: Toy, config: RunConfig, method: str = "cpfd") -> ExperimentPlan:
    short = config.model_copy(update={"optimiser": config.optimiser.model_copy(update={"epochs": 1})})
    return ExperimentPlan(
        trials=(Trial(seed=0, test_fold=0),), methods=(method,), config=short, manifest_digest=toy.manifest.digest()
    )


def test_a_search_goes_on_where_it_was_and_writes_the_best(
    toy: Toy, tiny_config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, place = planned(toy, tiny_config), Workplace(tmp_path / "out", tmp_path / "cache", None)
    tune(toy.manifest, plan, place, SPACE, budget=2)
    first = (place.out / "tried" / "001.json").stat().st_mtime_ns
    trained: list[str] = []
    fit = tuning.fit

    def counted(home: Path, *arguments: Any, **more: Any) -> Any:
        trained.append(home.name)
        return fit(home, *arguments, **more)

    monkeypatch.setattr(tuning, "fit", counted)
    document = tune(toy.manifest, plan, place, SPACE, budget=3)
    assert trained == ["seed0-fold0"], "one more try, and one alone"
    assert (place.out / "tried" / "001.json").stat().st_mtime_ns == first
    assert [one["changes"] for one in document["tried"]] == [SPACE.draw(0, n) for n in range(3)]
    assert document["best"]["mean"] == max(one["mean"] for one in document["tried"])
    assert set(document["best"]["val_pr_auc"]) == {task.name for task in toy.manifest.tasks}
    best = read_config(place.out / "best.yaml")
    assert best.optimiser.lr == document["best"]["changes"].get("optimiser.lr", plan.config.optimiser.lr)
    assert not (place.out / "trying").exists()


def test_another_search_in_the_same_folder_is_refused(toy: Toy, tiny_config: RunConfig, tmp_path: Path) -> None:
    plan, place = planned(toy, tiny_config, "ce"), Workplace(tmp_path / "out", tmp_path / "cache", None)
    tune(toy.manifest, plan, place, SPACE, budget=1)
    with pytest.raises(ValueError, match="another search lies here"):
        tune(toy.manifest, plan, place, SPACE, budget=1, seed=7)


def test_a_field_that_the_preset_lacks_stops_before_anything_is_read(
    toy: Toy, tiny_config: RunConfig, tmp_path: Path
) -> None:
    space = TuningSpace(fields={"optimiser.speed": FieldSpace(low=0.0, high=1.0)})
    with pytest.raises(ConfigError, match=r"optimiser\.speed"):
        tune(toy.manifest, planned(toy, tiny_config), Workplace(tmp_path / "out", tmp_path, None), space, budget=2)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("path", ["model.text.dropout", "teacher.dropout", "optimiser.augmentation.views"])
def test_a_field_that_all_tries_share_is_refused(toy: Toy, tiny_config: RunConfig, tmp_path: Path, path: str) -> None:
    space = TuningSpace(fields={path: FieldSpace(low=0.0, high=1.0)})
    with pytest.raises(ValueError, match="cannot be tuned: all tries share"):
        tune(toy.manifest, planned(toy, tiny_config), Workplace(tmp_path / "out", tmp_path, None), space, budget=1)


def test_a_method_that_trains_more_than_a_student_is_refused(toy: Toy, tiny_config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="method pckd trains more than a student"):
        tune(toy.manifest, planned(toy, tiny_config, "pckd"), Workplace(tmp_path, tmp_path, None), SPACE, budget=1)
