"""A checkpoint that nobody trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from contract.bundle import MODEL_FILE, TOKENIZER_FILE, file_digest
from contract.decision import DecisionPolicy, TaskPolicy, TaskSpec
from model_export.model_card import CardNotes, TaskNotes
from tests.synthetic_bundle import write_synthetic_bundle
from tests.unit.training.finished_run import SPAM, TOPICS
from training.config import RunConfig
from training.fitting.checkpoint import CheckpointCard, write_checkpoint
from training.models.build import build_model

TASKS: tuple[TaskSpec, ...] = (TOPICS, SPAM)
"""Not in the order of their names, so that outputs in another order are seen."""
POLICY = DecisionPolicy(
    tasks={
        "spam": TaskPolicy(temperature=1.5, thresholds={"flag": 0.5}),
        "topics": TaskPolicy(temperature=1.2, thresholds={"a": 0.5, "b": 0.5}),
    }
)
_WORDS = TaskNotes(asks="Is it so?", data="None.", limits="All.")
NOTES = CardNotes(intended_use="Tests.", not_for=("anything",), tasks={task.name: _WORDS for task in TASKS})


@dataclass(frozen=True)
class Untrained:
    """A student's checkpoint folder, its card and tokenizer, and a graph with its inputs and outputs (not its own)."""

    checkpoint: Path
    card: CheckpointCard
    tokenizer: Path
    graph: Path


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory, tiny_config: RunConfig) -> Untrained:
    home = tmp_path_factory.mktemp("untrained")
    synthetic = write_synthetic_bundle(home / "synthetic", tasks=TASKS, input_spec=tiny_config.input_spec)
    model = build_model(tiny_config, TASKS, None).eval()
    (home / "student").mkdir()
    card = write_checkpoint(
        home / "student",
        model,
        {
            "role": "student",
            "method": "cpfd",
            "config": tiny_config,
            "tasks": TASKS,
            "policy": POLICY,
            "seed": 3,
            "test_fold": 1,
            "manifest_digest": "a" * 64,
            "teacher_digest": "b" * 64,
            "tokenizer_digest": file_digest(synthetic / TOKENIZER_FILE),
            "train_rows": 48,
            "skipped_rows": 0,
            "losses": (0.7,),
        },
    )
    return Untrained(home / "student", card, synthetic / TOKENIZER_FILE, synthetic / MODEL_FILE)
