"""Every method of every trial as a step of its own, over several processes; what is complete is not run again.

A trial's first step trains the privileged teacher, which all of its methods lean on. Where methods share a further
teacher, the first of them trains it and the others wait for that one, so that no two processes train it.
"""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from recipes.benchmark.provenance import record_step
from training.child_process import end_with_parent
from training.data.manifest import Manifest
from training.distillation.registry import METHODS
from training.evaluation.comparisons import TEACHER
from training.experiment.control_predictions import missing_controls
from training.experiment.plan import ExperimentPlan, Trial, Workplace
from training.experiment.predictions import PREDICTIONS_FILE, VALIDATION_PREDICTIONS_FILE, is_stored
from training.experiment.run import open_experiment, run_trial
from training.fitting.checkpoint import CARD_FILE, read_card
from training.fitting.processes import world
from training.teachers.confidence_record import CONFIDENCE_FILE

_NOT_AHEAD = ("privileged", "none", "joint")
"""Roles for which no teacher but the trial's own is trained ahead of the student."""


@dataclass(frozen=True)
class Step:
    """One unit of work for a process: a method of a trial, or the trial's teacher (``teacher``), which comes first."""

    trial: Trial
    name: str
    after: tuple[str, ...] = ()
    """The trial's steps that must be complete before."""

    @property
    def key(self) -> tuple[str, str]:
        """Which step it is."""
        return self.trial.name, self.name

    def waits_for(self, unfinished: set[tuple[str, str]]) -> bool:
        """Whether a step that it depends on, such as the teacher's, is among the keys."""
        return any((self.trial.name, name) in unfinished for name in self.after)


def steps_of(plan: ExperimentPlan, trial: Trial) -> list[Step]:
    """The trial's steps: the teacher's, then those that train a further teacher, then the others."""
    shared: dict[str, list[str]] = {}
    plain: list[str] = []
    for name in plan.methods:
        role = METHODS[name].teacher
        if role in _NOT_AHEAD or not METHODS[name].reads_soft_targets:
            plain.append(name)
            continue
        if role == "plain_large" and plan.config.kd_teacher is None:
            role = "plain"
        shared.setdefault(role, []).append(name)
    steps = [Step(trial, TEACHER)]
    steps += [Step(trial, names[0], (TEACHER,)) for names in shared.values()]
    steps += [Step(trial, name, (TEACHER,)) for name in plain]
    return steps + [Step(trial, name, (TEACHER, names[0])) for names in shared.values() for name in names[1:]]


def is_complete(manifest: Manifest, step: Step, out: Path) -> bool:
    """Whether every file that the step writes is there."""
    home = out / step.trial.name
    if not _is_predicted(home / step.name):
        return False
    if step.name != TEACHER:
        return True
    parts = {str(split): rows for split, rows in manifest.split_rows(step.trial.test_fold).items()}
    controls = next(missing_controls(home / "controls", manifest, parts), None)
    return (home / CONFIDENCE_FILE).exists() and controls is None


def run_benchmark(manifest: Manifest, plan: ExperimentPlan, place: Workplace, *, jobs: int = 1) -> int:
    """Runs what is not complete, ``jobs`` steps at a time (one thread each where there are several).

    Returns:
        How many steps were run: 0 where all was there.

    Raises:
        ValueError: ``place.out`` holds another experiment, or several processes were launched (torchrun).
        PretrainedError: weights to start from are missing, or their vocabulary is.
    """
    if world().num_processes > 1:
        raise ValueError("a benchmark takes one process: spread it with jobs, or train with `run` first")
    open_experiment(manifest, plan, place, jobs=jobs)
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
    """The first steps that can be run, in the plan's order, so that a run that is stopped leaves whole trials."""
    unfinished, waiting = {step.key for step in missing}, list(missing)
    running: dict[Future[None], Step] = {}
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker)
    try:
        with tqdm(total=len(missing), desc="steps", disable=None) as bar:
            while waiting or running:
                ready = [step for step in waiting if not step.waits_for(unfinished)][: jobs - len(running)]
                waiting = [step for step in waiting if step not in ready]
                running |= {pool.submit(_run_step, manifest, plan, step, place, jobs): step for step in ready}
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    unfinished.remove(_finished(future, running).key)
                    bar.update()
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(future: Future[None], running: dict[Future[None], Step]) -> Step:
    future.result()
    return running.pop(future)


def _start_worker() -> None:
    end_with_parent()
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(processName)s %(message)s")


def _run_step(manifest: Manifest, plan: ExperimentPlan, step: Step, place: Workplace, jobs: int) -> None:
    started = time.monotonic()
    methods = () if step.name == TEACHER else (step.name,)
    run_trial(manifest, plan.model_copy(update={"methods": methods}), step.trial, place)
    record_step(place.out, step.trial.name, step.name, seconds=time.monotonic() - started, jobs=jobs)


def _is_predicted(directory: Path) -> bool:
    if not (directory / CARD_FILE).exists():
        return False
    card = read_card(directory)
    return all(is_stored(directory / name, card) for name in (PREDICTIONS_FILE, VALIDATION_PREDICTIONS_FILE))
