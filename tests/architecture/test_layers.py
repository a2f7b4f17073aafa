"""Who may import whom, and that serving never loads torch."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def loaded_by(module: str) -> set[str]:
    code = f"import {module}, sys; print('\\n'.join(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return {name.partition(".")[0] for name in result.stdout.split()}


@pytest.mark.parametrize("module", ["service.app", "contract.bundle", "contract.example"])
def test_serving_loads_no_training_library(module: str) -> None:
    forbidden = {"torch", "transformers", "onnx", "sklearn", "pandas", "pyarrow", "training", "model_export"}
    assert loaded_by(module) & forbidden == set()


def test_the_commands_of_training_are_listed_without_the_libraries_of_training() -> None:
    assert (
        loaded_by("training.__main__") & {"torch", "transformers", "sklearn", "scipy", "pyarrow", "matplotlib"} == set()
    )


def test_contract_loads_no_http_and_no_runtime() -> None:
    assert loaded_by("contract.bundle") & {"fastapi", "starlette", "uvicorn", "onnxruntime", "httpx"} == set()


def test_a_default_decoder_does_not_load_the_other() -> None:
    assert "decord" not in loaded_by("contract.video")


def test_the_load_test_keeps_gevent_in_locusts_process_and_knows_no_other_package() -> None:
    others = {"contract", "service", "training", "model_export", "torch"}
    assert loaded_by("loadtest.__main__") & ({"gevent", "locust"} | others) == set()


def test_serving_extra_declares_no_training_library() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    wanted = " ".join(extras["serve"] + extras["http"] + extras["serve-gpu"])
    assert not [name for name in ("torch", "transformers", "scikit", "onnxscript") if name in wanted]
    assert not [d for d in extras["serve"] if d.startswith("onnxruntime-gpu")]
