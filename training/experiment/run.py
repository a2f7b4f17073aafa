"""All methods over seeds and folds: teacher, soft targets, baseline, PFD, CPFD, each on the same rows.

    <out>/tokenizer.json, experiment.json
    <out>/seed0-fold0/teacher | soft_targets | ce | pfd | cpfd      each with its checkpoint and predictions.npz
                                                                 (test) and validation_predictions.npz
    <out>/seed0-fold0/teacher_<role> | soft_targets_<role>          of other teachers, where a method needs one
    <out>/seed0-fold0/teacher_crossfit_<part> | soft_targets_privileged_crossfit   of the cross-fitted ones

The privileged teacher is trained whatever the methods: it is the upper end of the gap that the report measures.
Every step that is complete is skipped, so a killed experiment goes on where it was.
"""

from __future__ import annotations

import logging
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from pydantic import ValidationError
from tqdm import tqdm

from contract.text import TextTokenizer
from contract.video import DecodeLimits
from training.atomic_write import write_json
from training.child_process import end_with_parent
from training.config import MomentVisionConfig, RunConfig
from training.data.frames.frame_cache import FrameCache
from training.data.frames.frame_store import FrameStore
from training.data.frames.shards.store import ShardStore
from training.data.leakage import groups_without_top
from training.data.loading.row_set import (
    RowSet,
    row_set,
    with_soft_targets,
    with_teacher_features,
    with_trunk_features,
)
from training.data.manifest import Manifest, Row, Split
from training.data.privileged import PrivilegedStatistics
from training.data.tokenizer import tokenizer_from_vocabulary, train_tokenizer, trim_vocabulary
from training.data.validation import require_rows_left
from training.distillation.registry import METHODS
from training.experiment.control_predictions import write_control_predictions
from training.experiment.plan import EXPERIMENT_FILE, TOKENIZER_FILE, ExperimentPlan, Trial, Workplace
from training.experiment.predictions import read_predictions
from training.experiment.rounds import Round, rounds
from training.fitting.fit import FitData, fit
from training.fitting.operation import PLAIN_OPERATION, Operation
from training.fitting.processes import main_first, world
from training.fitting.trunk_features import (
    keep_clip_features,
    keep_text_features,
    read_record,
    write_record,
    xvlm_of,
)
from training.models.build import build_model
from training.models.weights.sources import load_pretrained, require_usable, source_tokenizer
from training.teachers.confidence_record import Judged, record_histograms, record_means, warn_of_degenerate
from training.teachers.cross_fitting import rows_at
from training.teachers.trial_teachers import Teachers

_LOG = logging.getLogger(__name__)
_FAILED_SHOWN = 20
TRUNK_FEATURES_FILE = "trunk_features.json"
"""Where the output of frozen encoders is kept."""


def run(
    manifest: Manifest,
    plan: ExperimentPlan,
    place: Workplace,
    *,
    jobs: int = 1,
    operation: Operation = PLAIN_OPERATION,
) -> None:
    """Runs every trial, ``jobs`` at a time, one thread each where there are several.

    Where several processes were launched (torchrun, ``accelerate launch``) they all call this, and train each model
    together, one trial after the other.

    Raises:
        ValueError: ``place.out`` holds another experiment, or both ``jobs`` and processes are several.
        PretrainedError: weights to start from are missing, or their vocabulary is.
        ShardError: the shards are of another manifest or input spec, missing or damaged.
    """
    if jobs > 1 and world().num_processes > 1:
        raise ValueError(f"{world().num_processes} processes share each training: jobs must be 1")
    if world().is_main_process:
        open_experiment(manifest, plan, place, jobs=jobs)
    world().wait_for_everyone()
    if jobs <= 1:
        for trial in tqdm(plan.trials, desc="trials", disable=None if world().is_main_process else True):
            run_trial(manifest, plan, trial, place, operation)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=end_with_parent) as pool:
        futures = [pool.submit(_run_in_worker, manifest, plan, trial, place, operation) for trial in plan.trials]
        for future in tqdm(as_completed(futures), total=len(futures), desc="trials", disable=None):
            future.result()


def open_experiment(manifest: Manifest, plan: ExperimentPlan, place: Workplace, *, jobs: int = 1) -> None:
    """Records the plan in the folder and writes what all trials read; the folder may hold some of it already.

    Raises:
        ValueError: ``place.out`` holds another experiment.
        PretrainedError: weights to start from are missing, or their vocabulary is.
    """
    require_usable(plan.config, place.vocabulary)
    place.out.mkdir(parents=True, exist_ok=True)
    record = place.out / EXPERIMENT_FILE
    if record.exists() and (other := _what_else(record, plan)):
        if any(place.out.glob("*/*/*.pt")):
            raise ValueError(f"{record}: {other} lies here; choose another folder or remove it")
        (place.out / TOKENIZER_FILE).unlink(missing_ok=True)  # nothing was trained: a first try with a wrong config
    write_json(record, plan.model_dump(mode="json"))
    prepare(manifest, plan, place, workers=max(1, jobs))


def prepare(manifest: Manifest, plan: ExperimentPlan, place: Workplace, *, workers: int) -> None:
    """Writes what all trials read: the tokenizer and the decoded frames, where they are missing.

    Raises:
        ValueError: a row has no clip, and no text in a field that the preset reads.
        ManifestError: the rows whose clips can be decoded no longer suffice: a task lacks a split, fold or class.
    """
    _warn_of_unread_texts(manifest, plan.config)
    place.out.mkdir(parents=True, exist_ok=True)
    _write_tokenizer(manifest, plan, place)
    frames = _frames(manifest, plan, place, workers=workers, progress=True)
    if isinstance(frames, ShardStore):
        frames.verify()
    if frames.failed:
        _LOG.warning("clips that cannot be decoded are left out: %s", frames.failures)
        for row_id, code in sorted(frames.failed.items())[:_FAILED_SHOWN]:
            _LOG.warning("left out: row %s: %s", row_id, code)
        require_rows_left(manifest, frames.failed, [trial.test_fold for trial in plan.trials])
    _keep_trunk_features(manifest, plan, place, frames, workers)


def _keep_trunk_features(
    manifest: Manifest, plan: ExperimentPlan, place: Workplace, frames: FrameStore, workers: int
) -> None:
    """Runs frozen encoders over the manifest, once, and records where their output is."""
    config, path = plan.config, place.out / TRUNK_FEATURES_FILE
    if not isinstance(config.model.vision, MomentVisionConfig):
        return
    model = xvlm_of(build_model(config, manifest.tasks, None))
    assert model is not None
    if config.pretrained is not None:
        load_pretrained(model, config.pretrained, place.out / TOKENIZER_FILE)
    clips = texts = None
    if model.vision_encoder.trunk.frozen:
        clips = keep_clip_features(model, config, manifest.rows, frames, place.cache, workers)
    if model.text_frozen:
        tokenizer = TextTokenizer(place.out / TOKENIZER_FILE, config.input_spec)
        fields = {field.name for field in config.input_spec.text_fields}
        texts = keep_text_features(model, manifest.rows, tokenizer, fields, place.cache)
    write_record(path, clips, texts)


def _warn_of_unread_texts(manifest: Manifest, config: RunConfig) -> None:
    """Logs which text fields of the rows the preset does not read; raises where a row holds nothing else."""
    known = {field.name for field in config.input_spec.text_fields}
    unread = Counter(name for row in manifest.rows for name, text in row.texts.items() if text.strip())
    for name in sorted(set(unread) - known):
        _LOG.warning("%s of %d rows is not read: the preset's text_fields lack it", name, unread[name])
    empty = [
        row.id
        for row in manifest.rows
        if row.video is None and not any(text.strip() for name, text in row.texts.items() if name in known)
    ]
    if empty:
        raise ValueError(
            f"row {empty[0]}{f' and {len(empty) - 1} more' if len(empty) > 1 else ''}: no clip, and no text that the "
            f"preset reads (text_fields: {', '.join(sorted(known))})"
        )


def _what_else(record: Path, plan: ExperimentPlan) -> str:
    """What is recorded, where it has not the plan's configuration and manifest; trials and methods may be added."""
    try:
        known = ExperimentPlan.model_validate_json(record.read_bytes())
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"])
        return f"an experiment that this version does not read ({where}: {fault['msg']})"
    same = (known.config, known.manifest_digest) == (plan.config, plan.manifest_digest)
    return "" if same else "another experiment"


def trial_data(
    manifest: Manifest, plan: ExperimentPlan, trial: Trial, place: Workplace
) -> tuple[FitData, dict[Split, RowSet], PrivilegedStatistics]:
    """What a trial's fits read, its rows by split, and the privileged features standardised on its training rows."""
    rows = manifest.split_rows(trial.test_fold)
    data, parts = fit_data(manifest, plan, trial.test_fold, rows, place)
    return data, parts, privileged_statistics(manifest, plan, trial, parts["train"], trial.name)


def privileged_statistics(
    manifest: Manifest, plan: ExperimentPlan, trial: Trial, train: RowSet, name: str
) -> PrivilegedStatistics:
    """Of the features that the trial's teacher reads; logs those that these rows tell nothing of, under ``name``."""
    groups = groups_without_top(manifest, trial.test_fold, plan.config.teacher.drop_top)
    statistics = PrivilegedStatistics.fit(train.rows, groups)
    if statistics.unread:
        _LOG.warning("%s: constant or missing in training rows, not read: %s", name, ", ".join(statistics.unread))
    return statistics


def fit_data(
    manifest: Manifest,
    plan: ExperimentPlan,
    test_fold: int | None,
    rows: Mapping[Split, Sequence[Row]],
    place: Workplace,
) -> tuple[FitData, dict[Split, RowSet]]:
    """What fits read of these rows, by split; where there are no validation rows, they decide nothing.

    Args:
        test_fold: as the checkpoints' cards name it.
        rows: by split; training rows are a must.
    """
    cache = _frames(manifest, plan, place, workers=1, progress=False)
    tokenizer_path = place.out / TOKENIZER_FILE
    tokenizer = TextTokenizer(tokenizer_path, plan.config.input_spec)
    parts = {
        split: row_set(some, manifest.tasks, plan.config.input_spec, tokenizer, cache, place.workers)
        for split, some in rows.items()
    }
    kept = read_record(place.out / TRUNK_FEATURES_FILE)
    augmentation = plan.config.optimiser.augmentation
    parts = {
        split: replace(with_trunk_features(part, *kept), augmentation=augmentation) for split, part in parts.items()
    }
    skipped = sum(row.id in cache.failed for row in rows["train"])
    val = parts["val"] if "val" in parts else rows_at(parts["train"], np.arange(0))
    data = FitData(parts["train"], val, manifest.tasks, manifest.digest(), test_fold, skipped, tokenizer_path)
    return data, parts


def run_trial(
    manifest: Manifest,
    plan: ExperimentPlan,
    trial: Trial,
    place: Workplace,
    operation: Operation = PLAIN_OPERATION,
) -> None:
    """Trains and predicts with the teacher and every method on one seed and fold: twice, where ``refit`` is set."""
    first = Round(place.out / trial.name, *trial_data(manifest, plan, trial, place))
    for one in rounds(manifest, plan, trial, first):
        run_methods(manifest, plan, trial, one, operation)


def run_methods(manifest: Manifest, plan: ExperimentPlan, trial: Trial, this: Round, operation: Operation) -> None:
    """Trains the teacher and every method of one round, and predicts the rows that it holds out, if any."""
    home, data, parts, statistics = this.home, this.data, this.parts, this.statistics
    confidence = plan.config.distillation.confidence
    teachers = Teachers(home, data, plan.config, statistics, trial.seed, operation, this.selected)
    teacher = teachers.get("privileged")
    with main_first():  # the others read what rank 0 wrote
        this.predict_held_out("teacher", statistics)
    judged: dict[str, Judged] = {"train": (teacher.soft_targets, parts["train"], teacher.card)}
    if "test" in parts:
        judged["test"] = read_predictions(home / "teacher", parts["test"]), parts["test"], teacher.card
    if world().is_main_process:
        record_means(home, judged, confidence)
        warn_of_degenerate(this.name or trial.name, judged["train"], confidence)
    for name in plan.methods:
        method = METHODS[name]
        taught = teachers.get(method.teacher) if method.reads_soft_targets else None
        rows = data if taught is None else replace(data, train=with_soft_targets(data.train, taught.soft_targets))
        if method.needs_features:
            features = teachers.features(method.teacher)
            rows = replace(rows, train=with_teacher_features(rows.train, features))
        fit(
            home / name,
            rows,
            plan.config,
            method=name,
            seed=trial.seed,
            teacher=None if taught is None else taught.card,
            statistics=statistics if method.teacher == "joint" or method.predicts_privileged else None,
            role="student",
            operation=operation,
            selection=this.selected(name),
        )
        if world().is_main_process:
            this.predict_held_out(name)
    crossed = teachers.trained("privileged_crossfit")
    if crossed is not None:
        judged["train_crossfit"] = (crossed.soft_targets, parts["train"], crossed.card)
        if world().is_main_process:
            warn_of_degenerate(f"{this.name or trial.name}, out of fold", judged["train_crossfit"], confidence)
    if world().is_main_process:
        record_histograms(home, judged, confidence)
    if world().is_main_process and "test" in parts:
        by_split = {str(split): part.rows for split, part in parts.items()}
        write_control_predictions(home / "controls", manifest, by_split, parts["train"].cache, trial.seed)
    world().wait_for_everyone()


def _run_in_worker(
    manifest: Manifest, plan: ExperimentPlan, trial: Trial, place: Workplace, operation: Operation
) -> None:
    torch.set_num_threads(1)
    # Anew for each trial: a process of the pool takes several, one after the other.
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {trial.name} %(message)s", force=True)
    run_trial(manifest, plan, trial, place, operation)


def _frames(manifest: Manifest, plan: ExperimentPlan, place: Workplace, *, workers: int, progress: bool) -> FrameStore:
    if place.shards is not None:
        return ShardStore.open(place.shards, manifest, plan.config.input_spec, cache=place.cache)
    rows = [row for row in manifest.rows if row.video is not None]
    return FrameCache.build(
        rows,
        manifest.video_path,
        plan.config.input_spec,
        DecodeLimits(),
        place.cache,
        workers=workers,
        progress=progress,
    )


def _write_tokenizer(manifest: Manifest, plan: ExperimentPlan, place: Workplace) -> None:
    path = place.out / TOKENIZER_FILE
    if path.exists():
        return
    size, given = plan.config.model.text.vocab_size, plan.config.pretrained
    vocabulary = place.vocabulary
    if vocabulary is None and given is not None and given.kind == "encoders":
        vocabulary = source_tokenizer(given)
    if vocabulary is not None:
        tokenizer_from_vocabulary(vocabulary, path)
    else:
        train_tokenizer(_training_texts(manifest, plan), size, path)
    if plan.config.model.text.trim_vocabulary:
        trim_vocabulary(path, _training_texts(manifest, plan), size)
    pieces = TextTokenizer(path, plan.config.input_spec).vocab_size
    if pieces > size or (pieces < size and given is not None and given.reads_text):
        path.unlink()
        raise ValueError(f"the vocabulary has {pieces} pieces, the model's text.vocab_size is {size}")


def _training_texts(manifest: Manifest, plan: ExperimentPlan) -> Iterator[str]:
    for row in manifest.split_rows(plan.trials[0].test_fold)["train"]:
        yield from row.texts.values()
