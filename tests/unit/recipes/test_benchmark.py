"""The whole benchmark on a toy with a composite task: trained, resumed, tabulated, ranked."""

from __future__ import annotations

import json
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from contract.decision import Modality, TaskKind, TaskSpec
from recipes.benchmark import schedule
from recipes.benchmark.command import Request, build_benchmark, train, write_benchmark
from recipes.benchmark.provenance import STEPS_FILE, UNRECORDED, git_revision, provenance
from recipes.benchmark.schedule import Step, run_benchmark, steps_of
from recipes.benchmark.selection import rank_on_validation
from recipes.benchmark.sizes import BenchmarkSize, SizeName, read_sizes, reduced
from training.__main__ import app
from training.config import ConfigError, RunConfig, read_config
from training.data.manifest import Manifest, Row
from training.data.synthetic import generate
from training.experiment.plan import ExperimentPlan, Workplace, plan_trials, read_plan
from training.experiment.predictions import PREDICTIONS_FILE, VALIDATION_PREDICTIONS_FILE

ROOT = Path(__file__).resolve().parents[3]
METHODS = ("ce", "pfd", "cpfd", "cpfd_shuffled")


def _task(name: str, *modalities: Modality) -> TaskSpec:
    return TaskSpec(name=name, kind=TaskKind.BINARY, labels=("other", "yes"), modalities=modalities)


def _composed(row: Row) -> Row:
    """Clips answer ``violence``, titles ``clickbait``, rows with both the composite of the two."""
    moves = row.labels.get("direction") == "rightward"
    free = "giveaway" in row.labels.get("topics", ())
    if row.video and row.texts:
        labels = {"sensational_violence": moves and free}
    else:
        labels = {"violence": moves} if row.video else {"clickbait": free}
    found = {name: ("other", "yes")[yes] for name, yes in labels.items()}
    fold = int(row.group.removeprefix("scene")) // 2 % 4 if row.video else None  # every fold holds both kinds of clip
    return row.model_copy(update={"labels": found, "fold": fold})


@dataclass(frozen=True)
class Done:
    manifest: Manifest
    request: Request


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_config: RunConfig) -> Done:
    home = tmp_path_factory.mktemp("benchmark")
    toy = generate(home / "data", clips=64, titles=60, seed=1)
    tasks = (
        _task("violence", Modality.VIDEO),
        _task("clickbait", Modality.TEXT),
        _task("sensational_violence", Modality.VIDEO, Modality.TEXT),
    )
    manifest = toy.model_copy(update={"tasks": tasks, "rows": tuple(_composed(row) for row in toy.rows)})
    size = BenchmarkSize(config="", trials=2, methods=METHODS, replicates=100)
    one_epoch = tiny_config.model_copy(update={"optimiser": tiny_config.optimiser.model_copy(update={"epochs": 1})})
    place = Workplace(home / "runs", home / "cache", vocabulary=None)
    request = Request("quick", size, one_epoch, place)
    return Done(train(manifest, request), request)


def test_a_second_call_trains_nothing(done: Done) -> None:
    out = done.request.place.out
    steps = (out / STEPS_FILE).read_text()
    assert len(steps.splitlines()) == 2 * (1 + len(METHODS))
    assert run_benchmark(done.manifest, read_plan(out, done.manifest), done.request.place, jobs=2) == 0
    assert (out / STEPS_FILE).read_text() == steps


def test_the_document_names_the_code_that_trained(done: Done, tmp_path: Path) -> None:
    assert provenance(done.request.place.out)["trained_by"] == [git_revision() or UNRECORDED]
    older = {"trial": "seed0-fold0", "step": "ce", "seconds": 2.0, "jobs": 1}
    (tmp_path / STEPS_FILE).write_text(
        "".join(json.dumps(older | more) + "\n" for more in ({}, {"git_revision": "abc"}))
    )
    made = provenance(tmp_path)
    assert made["trained_by"] == ["abc", UNRECORDED]
    assert made["step_seconds"] == {"ce": 4.0}


def test_several_launched_processes_are_refused(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recipes.benchmark.schedule.world", lambda: SimpleNamespace(num_processes=2))
    plan, place = read_plan(done.request.place.out, done.manifest), done.request.place
    with pytest.raises(ValueError, match="takes one process"):
        run_benchmark(done.manifest, plan, place)


def test_validation_predictions_are_added_to_older_runs(done: Done) -> None:
    home = done.request.place.out / "seed0-fold0" / "pfd"
    stored, test = home / VALIDATION_PREDICTIONS_FILE, (home / PREDICTIONS_FILE).stat().st_mtime_ns
    before = dict(np.load(stored))
    stored.unlink()
    plan = read_plan(done.request.place.out, done.manifest)
    assert run_benchmark(done.manifest, plan, done.request.place) == 1
    after = dict(np.load(stored))
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert (home / PREDICTIONS_FILE).stat().st_mtime_ns == test


def test_document_and_table(done: Done) -> None:
    out = done.request.place.out
    document = build_benchmark(out, done.manifest, "quick", replicates=100)
    written = write_benchmark(out, document, done.manifest)
    assert [path.name for path in written] == ["benchmark.json", "benchmark.md", "benchmark.html"]
    json.dumps(document, allow_nan=False)
    tasks = document["tasks"]
    assert tasks["violence"]["controls"] == ["container_only", "background_only"]
    assert tasks["clickbait"]["controls"] == ["tfidf_logistic"]
    assert tasks["sensational_violence"]["controls"] == ["tfidf_logistic", "clip_half_only", "title_half_only"]
    assert tasks["clickbait"]["seeds_per_fold"] == [2]
    assert tasks["violence"]["seeds_per_fold"] == [1]
    for task in tasks.values():
        for values in task["methods"].values():
            assert {"recall_at_p80", "precision_at_p90", "vv_leakage", "overkill", "roc_auc"} <= set(values)
    means = [task["methods"]["cpfd"]["f1"]["mean"] for task in tasks.values()]
    found = document["mean_over_tasks"]["methods"]["cpfd"]["f1"]["mean"]
    assert found == pytest.approx(np.mean(means), abs=1e-4)
    assert set(document["claims"]) == {"gain over X-VLM", "gain over PFD", "gap closed"}
    assert document["provenance"]["cores"] >= 1
    text = written[1].read_text()
    assert document["verdict"] in text
    for heading in ("| mean against `ce` |", "### sensational_violence", "## Made with", "R@P80", "title's half alone"):
        assert heading in text


def test_ranking_opens_no_test_prediction(done: Done, tmp_path: Path) -> None:
    out = done.request.place.out
    hidden = []
    for path in out.glob("*/*/" + PREDICTIONS_FILE):
        hidden.append((path, path.rename(path.with_suffix(".hidden"))))
    try:
        ranking = rank_on_validation(out, done.manifest, ["violence", "clickbait"], replicates=100)
    finally:
        for path, moved in hidden:
            moved.rename(path)
    assert {entry["method"] for entry in ranking} == set(METHODS)
    scores = [entry["pr_auc"]["mean"] for entry in ranking]
    assert scores == sorted(scores, reverse=True)
    with pytest.raises(KeyError):
        rank_on_validation(out, done.manifest, ["no such task"])


def test_methods_that_share_a_teacher_wait_for_the_first_of_them(done: Done) -> None:
    plan = ExperimentPlan(
        trials=plan_trials(done.manifest, 1),
        methods=("ce", "kd", "self_distillation", "gend", "pfd", "pfd_crossfit", "cpfd_crossfit"),
        config=done.request.config,
        manifest_digest=done.manifest.digest(),
    )
    after = {step.name: step.after for step in steps_of(plan, plan.trials[0])}
    assert after == {
        "teacher": (),
        "kd": ("teacher",),
        "gend": ("teacher",),
        "ce": ("teacher",),
        "pfd": ("teacher",),
        "pfd_crossfit": ("teacher",),
        "self_distillation": ("teacher", "kd"),
        "cpfd_crossfit": ("teacher", "pfd_crossfit"),
    }


def test_steps_are_begun_trial_by_trial(done: Done, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a benchmark that is stopped leaves whole trials; two processes never share a trial's teacher."""
    begun: list[tuple[str, str]] = []

    class Pool:
        def __init__(self, *given: object, **named: object) -> None: ...

        def submit(self, run: object, manifest: object, plan: object, step: Step, *rest: object) -> Future[None]:
            begun.append(step.key)
            future: Future[None] = Future()
            future.set_result(None)
            return future

        def shutdown(self, **named: object) -> None: ...

    monkeypatch.setattr(schedule, "ProcessPoolExecutor", Pool)
    plan = ExperimentPlan(
        trials=plan_trials(done.manifest, 3),
        methods=("ce", "pfd", "self_distillation_crossfit", "cpfd_crossfit"),
        config=done.request.config,
        manifest_digest=done.manifest.digest(),
    )
    steps = [step for trial in plan.trials for step in steps_of(plan, trial)]
    schedule._run_parallel(done.manifest, plan, steps, done.request.place, 2)
    assert sorted(begun) == sorted(step.key for step in steps)
    place = {key: n for n, key in enumerate(begun)}
    for step in steps:
        assert all(place[step.trial.name, name] < place[step.key] for name in step.after)
    # A second process may begin the next trial while the first's teacher is trained, and no more than that.
    order = [trial.name for trial in plan.trials]
    ahead = [order.index(name) - min(order.index(rest) for rest, _ in begun[n:]) for n, (name, _) in enumerate(begun)]
    assert max(ahead) <= 1


def test_seeds_of_a_fold_differ(done: Done) -> None:
    trials = BenchmarkSize(config="", seeds_per_fold=3).plan(done.manifest)
    assert len({trial.seed for trial in trials}) == len(trials) == 3 * done.manifest.folds
    assert trials[:4] == plan_trials(done.manifest, 4)


def test_reduction_keeps_so_many_rows_of_each_task_and_fold(done: Done) -> None:
    small = reduced(done.manifest, 8)
    assert len(small.rows) < len(done.manifest.rows)
    counts: dict[tuple[str, object], int] = {}
    for row in small.rows:
        for task in row.labels:
            place = (task, row.fold if row.split is None else row.split)
            counts[place] = counts.get(place, 0) + 1
    assert max(counts.values()) == 8
    assert reduced(done.manifest, None) is done.manifest


def test_the_committed_sizes_can_be_used() -> None:
    path = ROOT / "configs" / "benchmark_sizes.yaml"
    sizes = read_sizes(path)
    assert set(sizes) == set(get_args(SizeName))
    for size in sizes.values():
        read_config(path.parent / size.config)
        assert {"ce", "pfd", "cpfd"} <= set(size.method_names)


def test_the_quick_preset_reads_what_the_synthetic_data_hold(tmp_path: Path) -> None:
    """docs/benchmark.md has both in one example."""
    path = ROOT / "configs" / "benchmark_sizes.yaml"
    preset = read_config(path.parent / read_sizes(path)["quick"].config)
    held = {field for row in generate(tmp_path, clips=16, titles=12).rows for field in row.texts}
    assert held <= {field.name for field in preset.input_spec.text_fields}


def test_a_size_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "sizes.yaml"
    path.write_text("quick: {config: a.yaml, trials: 1, seeds_per_fold: 1}")
    with pytest.raises(ConfigError, match=r"sizes\.yaml.*either trials or seeds_per_fold"):
        read_sizes(path)


@pytest.mark.slow  # two processes import torch
def test_steps_in_several_processes_wait_for_their_teacher(done: Done) -> None:
    out = done.request.place.out
    for name in ("teacher", "pfd"):
        (out / "seed1-fold1" / name / VALIDATION_PREDICTIONS_FILE).unlink()
    lines = len((out / STEPS_FILE).read_text().splitlines())
    assert run_benchmark(done.manifest, read_plan(out, done.manifest), done.request.place, jobs=2) == 2
    added = [json.loads(line)["step"] for line in (out / STEPS_FILE).read_text().splitlines()[lines:]]
    assert added == ["teacher", "pfd"]
    assert (out / "seed1-fold1" / "teacher" / VALIDATION_PREDICTIONS_FILE).exists()


def test_controls_from_before_validation_scores_are_completed(done: Done) -> None:
    out = done.request.place.out
    path = out / "seed0-fold0" / "controls" / "tfidf_logistic-clickbait.npz"
    with np.load(path) as arrays:
        before = {name: arrays[name] for name in ("row_ids", "scores", "threshold")}
    np.savez(path, **before)
    assert run_benchmark(done.manifest, read_plan(out, done.manifest), done.request.place) == 1
    with np.load(path) as arrays:
        assert len(arrays["validation_scores"]) > 0
        assert np.array_equal(arrays["scores"], before["scores"])


@pytest.fixture
def arguments(done: Done, tmp_path: Path) -> list[str]:
    """A command line that goes on in the finished folder."""
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(done.request.config.model_dump(mode="json")))
    size = done.request.size.model_dump(mode="json") | {"config": "tiny.yaml"}
    (tmp_path / "sizes.yaml").write_text(yaml.safe_dump({"quick": size}))
    place = done.request.place
    return [
        *("benchmark", "--manifest", str(place.out / "manifest"), "--out", str(place.out), "--quick"),
        *("--cache", str(place.cache), "--sizes", str(tmp_path / "sizes.yaml")),
    ]


def test_the_command_resumes_and_writes(done: Done, arguments: list[str]) -> None:
    steps = (done.request.place.out / STEPS_FILE).read_text()
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    written = [Path(path) for path in json.loads(result.stdout)["written"]]
    assert [path.name for path in written] == ["benchmark.json", "benchmark.md", "benchmark.html"]
    assert all(path.is_file() for path in written)
    assert (done.request.place.out / STEPS_FILE).read_text() == steps


def test_the_command_ranks_on_validation_rows(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, [*arguments, "--select-on-validation", "--tuning-tasks", "violence"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["tuning_tasks"] == ["violence"]
    assert len(document["ranking"]) == len(METHODS)


def test_bad_usage_is_refused(arguments: list[str]) -> None:
    for more in (["--data", "elsewhere"], ["--tuning-tasks", "violence"]):
        assert CliRunner().invoke(app, [*arguments, *more]).exit_code == 2
