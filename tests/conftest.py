"""What several suites share: a model small enough to train in seconds, and where the development data lie."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.input_spec import InputSpec, TextField
from training.config import ModelConfig, OptimiserConfig, RunConfig, TextConfig, VisionConfig


@pytest.fixture(scope="session")
def tiny_config() -> RunConfig:
    """Two frames of 32 pixels, one layer of everything, two epochs."""
    return RunConfig(
        input_spec=InputSpec(
            frames=2,
            frame_size=32,
            text_fields=(TextField(name="title", max_tokens=8), TextField(name="overlay_text", max_tokens=4)),
        ),
        model=ModelConfig(
            name="xvlm-tiny",
            vision=VisionConfig(embed_dim=16, depths=(1, 1), heads=(1, 2), window_size=4, drop_path=0.0),
            text=TextConfig(
                vocab_size=400,
                embedding_size=16,
                hidden_size=32,
                heads=2,
                ffn_size=32,
                text_layers=1,
                cross_layers=1,
                max_positions=16,
            ),
        ),
        optimiser=OptimiserConfig(lr=2e-3, epochs=2, video_batch=8, text_batch=16),
    )


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The development data beside the checkout; a test that needs them is skipped where they are absent."""
    path = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the development data are not beside this checkout")
    return path
