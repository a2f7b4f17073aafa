"""An ablation of two tiny rows and a distilled one: trained, compared, and gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from recipes.ablation.command import ablation
from tests.unit.training.conftest import Toy, toy
from training.config import RunConfig
from training.data.manifest_io import write_manifest

__all__ = ["toy"]
TABLE = {
    "rows": [
        {
            "name": "one epoch",
            "says": "Short.",
            "preset": "tiny.yaml",
            "method": "ce",
            "changes": {"optimiser.lr": 1e-4},
        },
        {
            "name": "+ rate",
            "says": "Faster.",
            "preset": "tiny.yaml",
            "method": "ce",
            "changes": {"optimiser.refit": True},
        },
        {"name": "+ distillation", "says": "Taught.", "preset": "tiny.yaml", "method": "cpfd"},
    ]
}


def test_rows_are_trained_compared_and_not_trained_again(
    toy: Toy, tiny_config: RunConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny_config.model_copy(update={"optimiser": tiny_config.optimiser.model_copy(update={"epochs": 1})})
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")))
    (tmp_path / "ablation.yaml").write_text(yaml.safe_dump(TABLE))
    write_manifest(toy.manifest, tmp_path / "manifest")
    out = tmp_path / "out"

    def call() -> dict[str, float]:
        ablation(
            manifest=tmp_path / "manifest",
            out=out,
            table=tmp_path / "ablation.yaml",
            folds="0",
            seed=0,
            max_rows=None,
            vocabulary=None,
            cache=tmp_path / "cache",
            jobs=1,
            replicates=100,
        )
        return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.rglob("weights.pt")}

    trained = call()
    assert set(trained) == {
        "one-epoch/seed0-fold0/ce/weights.pt",
        "rate/seed0-fold0/ce/weights.pt",
        "rate/seed0-fold0/selection/ce/weights.pt",
        "distillation/seed0-fold0/cpfd/weights.pt",
        "distillation/seed0-fold0/teacher/weights.pt",
    }, "a teacher only where the method has one"
    document = json.loads((out / "ablation.json").read_text())
    assert set(document["tasks"]) == {task.name for task in toy.manifest.tasks}
    for measured in document["tasks"].values():
        rows = measured["rows"]
        assert set(rows) == {"one epoch", "+ rate", "+ distillation"}
        assert "gain" not in rows["one epoch"]
        gain = rows["+ rate"]["pr_auc"]["value"] - rows["one epoch"]["pr_auc"]["value"]
        assert rows["+ rate"]["gain"]["value"] == pytest.approx(gain, abs=2e-4)
    text = (out / "ablation.md").read_text()
    assert all(f"| {row['name']} | {row['says']} |" in text for row in TABLE["rows"])
    assert call() == trained
    assert "ablation.md" in capsys.readouterr().out
