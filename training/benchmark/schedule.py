"""Every method of every trial as a step of its own, over several processes; what is complete is not run again.

A trial's first step trains the privileged teacher, which all of its methods lean on. Methods that share another
teacher go in one step, so that no two processes train it. Longest chains come first: all teachers, then the methods.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from training.checkpoint import CARD_FILE
from training.control_predictions import missing_controls
from training.distillation.registry import METHODS
from training.experiment import (
    CONFIDENCE_FILE,
    PREDICTIONS_FILE,
    VALIDATION_PREDICTIONS_FILE,
    ExperimentPlan,
    Trial,
    Workplace,
    prepare,
    run_trial,
)
from training.manifest import Manifest

STEPS_FILE = "steps.jsonl"
"""One line for each step that was run: trial, methods, seconds, processes at work."""
_TRAINED_WITH_THE_TRIAL = ("privileged", "none", "joint")


@dataclass(frozen=True)
class Step:
    """Methods of one trial that one process trains in turn; none means the teacher and the controls."""

    trial: Trial
    methods: tuple[str, ...]


def steps_of(plan: ExperimentPlan, trial: Trial) -> list[Step]:
    """The trial's steps, the teacher's first."""
    shared: dict[str, list[str]] = {}
    for name in plan.methods:
        role = METHODS[name].teacher
        if role == "plain_large" and plan.config.kd_teacher is None:
            role = "plain"
        alone = role in _TRAINED_WITH_THE_TRIAL or not METHODS[name].reads_soft_targets
        shared.setdefault(f"method {name}" if alone else f"teacher {role}", []).append(name)
    together = sorted(shared.values(), key=len, reverse=True)
    return [Step(trial, ()), *(Step(trial, tuple(names)) for names in together)]


def is_complete(manifest: Manifest, step: Step, out: Path) -> bool:
    """Whether every file that the step writes is there."""
    home = out / step.trial.name
    if step.methods:
        return all(_is_predicted(home / name) for name in step.methods)
    parts = {str(split): rows for split, rows in manifest.split_rows(step.trial.test_fold).items()}
    return (
        _is_predicted(home / "teacher")
        and (home / CONFIDENCE_FILE).exists()
        and next(missing_controls(home / "controls", manifest, parts), None) is None
    )


def run_benchmark(manifest: Manifest, plan: ExperimentPlan, place: Workplace, *, jobs: int = 1) -> int:
    """Runs what is not complete, ``jobs`` steps at a time (one thread each where there are several).

    Returns:
        How many steps were run: 0 where all was there.

    Raises:
        ValueError: ``place.out`` holds another experiment.
        PretrainedError: weights to start from are missing, or their vocabulary is.
    """
    prepare(manifest, plan, place, jobs=jobs)
    steps = [step for trial in plan.trials for step in steps_of(plan, trial)]
    missing = [step for step in steps if not is_complete(manifest, step, place.out)]
    if jobs <= 1:
        for step in tqdm(missing, desc="steps", disable=None):
            _run_step(manifest, plan, step, place, jobs)
    elif missing:
        _run_parallel(manifest, plan, missing, place, jobs)
    return len(missing)


def _run_parallel(
    manifest: Manifest, plan: ExperimentPlan, missing: Sequence[Step], place: Workplace, jobs: int
) -> None:
    waiting = {step.trial.name for step in missing if not step.methods}
    held = [step for step in missing if step.methods and step.trial.name in waiting]
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker)
    try:
        ready = [step for step in missing if step not in held]
        running = {pool.submit(_run_step, manifest, plan, step, place, jobs): step for step in ready}
        with tqdm(total=len(missing), desc="steps", disable=None) as bar:
            while running:
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    step = _finished(future, running)
                    bar.update()
                    freed = [s for s in held if not step.methods and s.trial == step.trial]
                    held = [s for s in held if s not in freed]
                    running |= {pool.submit(_run_step, manifest, plan, s, place, jobs): s for s in freed}
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(future: Future[None], running: dict[Future[None], Step]) -> Step:
    future.result()
    return running.pop(future)


def _start_worker() -> None:
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(processName)s %(message)s")


def _run_step(manifest: Manifest, plan: ExperimentPlan, step: Step, place: Workplace, jobs: int) -> None:
    started = time.monotonic()
    run_trial(manifest, plan.model_copy(update={"methods": step.methods}), step.trial, place)
    line = {
        "trial": step.trial.name,
        "methods": list(step.methods) or ["teacher", "controls"],
        "seconds": round(time.monotonic() - started, 1),
        "jobs": jobs,
    }
    with (place.out / STEPS_FILE).open("a") as file:  # one short write: lines of several processes do not mix
        file.write(json.dumps(line) + "\n")


def _is_predicted(directory: Path) -> bool:
    return all((directory / name).exists() for name in (CARD_FILE, PREDICTIONS_FILE, VALIDATION_PREDICTIONS_FILE))
