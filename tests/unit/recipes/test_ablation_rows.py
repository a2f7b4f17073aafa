"""The rows of the ablation: settings on presets, refused where they fit nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from recipes.ablation.rows import read_table, row_config
from recipes.ablation.schedule import plan_rows
from training.config import ConfigError, read_config

CONFIGS = Path(__file__).resolve().parents[3] / "configs"


def test_the_committed_rows_add_one_thing_each() -> None:
    rows = read_table(CONFIGS / "ablation.yaml").rows
    configs = {row.name: row_config(row, CONFIGS) for row in rows}
    assert [row.method for row in rows] == ["ce", "ce", "ce", "ce", "cpfd"]
    plain, motion = configs["pretrained"], configs["+ motion"]
    assert configs["from scratch"].pretrained is None
    still = {"mean", "max", "top"}
    assert all(set(kinds) <= still for kinds in plain.model.vision.task_statistics.values())
    assert plain.optimiser == motion.optimiser
    assert not motion.optimiser.refit
    assert not plain.model.vision.tied_channels
    assert motion.model.vision == read_config(CONFIGS / "lite0.yaml").model.vision
    assert configs["+ recipe"] == configs["+ distillation"] == read_config(CONFIGS / "lite0.yaml")


def test_rows_of_one_configuration_share_a_folder(tmp_path: Path) -> None:
    rows = read_table(CONFIGS / "ablation.yaml").rows
    planned = plan_rows([(row, row_config(row, CONFIGS)) for row in rows], tmp_path)
    assert [row.home.name for row in planned] == ["from-scratch", "pretrained", "motion", "recipe", "recipe"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("rows: [{name: a, says: x, preset: micro.yaml, method: ce}]", "rows"),
        (
            "rows: [{name: a, says: x, preset: p, method: nothing}, {name: b, says: x, preset: p, method: ce}]",
            "nothing",
        ),
        ("rows: [{name: a b, says: x, preset: p, method: ce}, {name: A-B, says: x, preset: p, method: ce}]", "differ"),
        ("rows: [", "rows"),
    ],
)
def test_a_faulty_table_is_refused(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "ablation.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=says) as caught:
        read_table(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("changes", [{"optimiser.no_such": 1}, {"optimiser.lr.deep": 1}, {"optimiser.lr": -1}])
def test_a_change_that_fits_nothing_names_the_row(changes: dict[str, object]) -> None:
    row = read_table(CONFIGS / "ablation.yaml").rows[0].model_copy(update={"changes": changes})
    with pytest.raises(ConfigError, match=r"row 'from scratch': optimiser\."):
        row_config(row, CONFIGS)
