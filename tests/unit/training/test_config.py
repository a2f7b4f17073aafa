"""Configuration: what cannot be built is refused where it is written, by file and field."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from training.config import ConfigError, read_config

MICRO = Path(__file__).resolve().parents[3] / "configs" / "micro.yaml"


def altered(tmp_path: Path, section: str, **fields: object) -> Path:
    document = yaml.safe_load(MICRO.read_text())
    document.setdefault(section, {}).update(fields)
    path = tmp_path / "altered.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize(
    ("section", "fields", "words"),
    [
        ("input_spec", {"frame_size": 64}, "smaller than window_size"),
        ("input_spec", {"frame_size": 100}, "multiple of 16"),
        ("input_spec", {"frame_sise": 112}, "input_spec.frame_sise"),
        ("optimiser", {"lr": -1}, "optimiser.lr"),
        ("optimiser", {"epochs": 0}, "optimiser.epochs"),
    ],
)
def test_a_fault_is_named_by_file_and_field(
    tmp_path: Path, section: str, fields: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        read_config(altered(tmp_path, section, **fields))
    assert "altered.yaml" in str(caught.value)


@pytest.mark.parametrize("name", ["micro", "base"])
def test_presets_are_sound(name: str) -> None:
    assert read_config(MICRO.with_name(f"{name}.yaml")).model.name == f"xvlm-{name}"
