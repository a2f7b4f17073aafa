"""A decision log of a made experiment, as the service writes one: for tests, for practice, for looking at the page.

Accounts send several videos each; an account has a leaning of its own, so its rows are alike. Both arms score the same
latent quantity with noise of their own; the student's noise, latency and cost are settings. Flagged videos are always
reviewed, the others with a small probability, which the feedback names.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from analysis.log.files import to_arrow
from contract.decision_log import Decision, Exposure, Feedback, Record, TaskRecord, name_hash

EXPERIMENT: Final = "student-replaces-baseline"
ARMS: Final = ("xvlm-baseline", "cpfd-student")
TASKS: Final = {"clickbait": ("fine", "clickbait"), "violence": ("none", "mild", "graphic")}
_BASE_LOGIT: Final = {"clickbait": -1.2, "violence": -1.6}
_DAY_MS: Final = 86_400_000
_COUNTRIES: Final = ("BR", "DE", "ID", "US")


@dataclass(frozen=True)
class MadeExperiment:
    """What is made.

    Attributes:
        units: accounts.
        rows_a_unit: mean number of videos an account sends, at least 1 each.
        noise: of the score, in logits, of (control, treatment): more makes an arm worse.
        lost_share: of the treatment's units whose exposures are lost: a planted sample-ratio mismatch.
        shadow_share: of requests that the other arm answers too.
        review_passed: probability with which a video that was not flagged is reviewed.
        error_share: of requests without a verdict, of (control, treatment).
        latency_ms: median, of (control, treatment).
        earlier_share: of accounts that sent videos before the experiment.
        days: its length.
        seed: of everything.
    """

    units: int = 6000
    rows_a_unit: float = 2.5
    noise: tuple[float, float] = (1.0, 1.0)
    lost_share: float = 0.0
    shadow_share: float = 0.3
    review_passed: float = 0.25
    error_share: tuple[float, float] = (0.01, 0.01)
    latency_ms: tuple[float, float] = (190.0, 120.0)
    earlier_share: float = 0.6
    days: int = 14
    seed: int = 0


KINDS: Final = {
    "good": MadeExperiment(noise=(1.25, 0.9), error_share=(0.004, 0.003)),
    "broken": MadeExperiment(lost_share=0.12),
    "tiny": MadeExperiment(units=60, days=2),
}
"""A sound experiment with a better student, one whose log lost units of one arm, one that has hardly begun."""


@dataclass(frozen=True)
class _Rows:
    """One row a request: (N,) each; ``scores`` and ``truth`` task -> (N, 2 arms) logits and (N,) bool."""

    unit: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    logits: dict[str, NDArray[np.float64]]
    truth: dict[str, NDArray[np.bool_]]


def write_made_log(made: MadeExperiment, folder: Path) -> None:
    """Writes the log: the earlier half as Parquet, the rest as SQLite, with some rows in both as after a crash."""
    rng = np.random.default_rng(made.seed)
    treated = rng.random(made.units) < 0.5
    leaning = rng.normal(0, 1.0, made.units)
    begin = int(datetime(2026, 11, 9, tzinfo=UTC).timestamp() * 1000)
    earlier = np.flatnonzero(rng.random(made.units) < made.earlier_share)
    before = _rows(made, rng, leaning, np.repeat(earlier, 3), begin - 10 * _DAY_MS, 9 * _DAY_MS)
    lost = treated & (rng.random(made.units) < made.lost_share)
    unit = np.repeat(np.arange(made.units), 1 + rng.poisson(made.rows_a_unit - 1, made.units))
    during = _rows(made, rng, leaning, unit[~lost[unit]], begin, made.days * _DAY_MS)
    records: list[Record] = [*_records(made, rng, before, np.zeros(made.units, bool), "warm-up")]
    records += _records(made, rng, during, treated, EXPERIMENT)
    folder.mkdir(parents=True, exist_ok=True)
    middle = begin + made.days * _DAY_MS // 2
    old = [record for record in records if record.time_ms < middle]  # type: ignore[attr-defined]
    new = [record for record in records if record.time_ms >= middle]  # type: ignore[attr-defined]
    _write_parquet(folder, old)
    _write_sqlite(folder / "pod-a-000001.sqlite", [*old[-50:], *new])


def _rows(
    made: MadeExperiment, rng: np.random.Generator, leaning: NDArray[np.float64], unit: NDArray[np.int64],
    begin: int, length: int,
) -> _Rows:  # fmt: skip
    time = np.sort(begin + (rng.random(len(unit)) * length).astype(np.int64))
    unit = rng.permutation(unit)
    logits, truth = {}, {}
    for task, base in _BASE_LOGIT.items():
        latent = base + leaning[unit] + rng.normal(0, 1.5, len(unit))
        truth[task] = rng.random(len(unit)) < 1 / (1 + np.exp(-2.5 * latent))
        logits[task] = latent[:, None] * 2.0 + rng.normal(0, 1, (len(unit), 2)) * (2 * np.asarray(made.noise))
    return _Rows(unit, time, logits, truth)


def _records(
    made: MadeExperiment, rng: np.random.Generator, rows: _Rows, treated: NDArray[np.bool_], experiment: str
) -> Iterable[Record]:
    failed = rng.random(len(rows.unit)) < np.asarray(made.error_share)[treated[rows.unit].astype(int)]
    shadow = rng.random(len(rows.unit)) < made.shadow_share
    forced = rng.random(len(rows.unit)) < 0.003
    for n in range(len(rows.unit)):
        unit, time = int(rows.unit[n]), int(rows.time_ms[n])
        decision_id = hashlib.sha256(f"{experiment}/{made.seed}/{n}".encode()).hexdigest()[:32]
        arm = int(treated[unit])
        yield Exposure(
            decision_id=decision_id, time_ms=time, experiment=experiment, arm=ARMS[arm], forced=bool(forced[n]),
            unit="account_id", unit_hash=name_hash(f"account-{unit}"), video_hash=name_hash(f"{experiment}-video-{n}"),
            content_digest=name_hash(f"{experiment}-content-{n}"),
        )  # fmt: skip
        yield _decision(made, rng, rows, n, arm, decision_id, experiment, "corrupt_video" if failed[n] else "ok")
        if experiment == EXPERIMENT and not failed[n]:
            if shadow[n]:
                yield _decision(made, rng, rows, n, 1 - arm, decision_id, experiment, "ok", shadow=True)
            yield from _feedback(made, rng, rows, n, arm, decision_id)


def _decision(
    made: MadeExperiment, rng: np.random.Generator, rows: _Rows, n: int, arm: int, decision_id: str, experiment: str,
    code: str, *, shadow: bool = False,
) -> Decision:  # fmt: skip
    latency = float(made.latency_ms[arm] * np.exp(0.35 * rng.standard_normal()))
    return Decision(
        decision_id=decision_id, time_ms=int(rows.time_ms[n] + latency), experiment=experiment, arm=ARMS[arm],
        shadow=shadow, code=code, bundle_digest=name_hash(ARMS[arm]), input_spec_digest=name_hash("spec"),
        modalities=("video", "text"),
        tasks={task: _task(task, float(rows.logits[task][n, arm])) for task in TASKS} if code == "ok" else {},
        latency_ms=latency, decode_cpu_s=0.0 if shadow else 0.06, model_cpu_s=latency / 1500,
        bytes=int(300_000 * np.exp(rng.standard_normal())),
    )  # fmt: skip


def _task(task: str, logit: float) -> TaskRecord:
    p = 1 / (1 + np.exp(-logit))
    labels = TASKS[task]
    shares = (1 - p, p) if len(labels) == 2 else (1 - p, p * (1 - 0.5 * p), 0.5 * p * p)
    scores = {label: round(float(s), 6) for label, s in zip(labels, shares, strict=True)}
    flag = round(float(p), 6)
    label = labels[int(flag >= 0.5)] if len(labels) == 2 else max(scores, key=lambda name: scores[name])
    return TaskRecord(scores=scores, label=label, flag_score=flag, threshold=0.5, flagged=flag >= 0.5, supported=True)


def _feedback(
    made: MadeExperiment, rng: np.random.Generator, rows: _Rows, n: int, arm: int, decision_id: str
) -> Iterable[Feedback]:
    flagged = {task: bool(rows.logits[task][n, arm] >= 0) for task in TASKS}
    told = int(rows.time_ms[n] + 3_600_000 * np.exp(1.5 + rng.standard_normal()))
    views = int(50 * np.exp(2 * rng.standard_normal()))
    country = _COUNTRIES[int(rows.unit[n]) % len(_COUNTRIES)]
    for task, labels in TASKS.items():
        chance = 1.0 if flagged[task] else made.review_passed
        if rng.random() < chance:
            yield Feedback(
                feedback_id=f"review-{decision_id}", time_ms=told, decision_id=decision_id, task=task,
                labels=(labels[1 if rows.truth[task][n] else 0],), source="review", sampled_with=chance, views=views,
                attributes={"country": country},
            )  # fmt: skip


def _write_sqlite(path: Path, records: Iterable[Record]) -> None:
    path.unlink(missing_ok=True)
    with closing(sqlite3.connect(path)) as database, database:
        for record in (Exposure, Decision, Feedback):
            columns = ", ".join(f'"{name}" {kind}' for name, kind in record.columns().items())
            key = ", ".join(record.key)
            database.execute(f"CREATE TABLE {record.table} ({columns}, PRIMARY KEY ({key}))")
            places = ", ".join("?" * len(record.columns()))
            rows = [one.row() for one in records if isinstance(one, record)]
            database.executemany(f"INSERT INTO {record.table} VALUES ({places})", rows)


def _write_parquet(folder: Path, records: Iterable[Record]) -> None:
    by_day: dict[tuple[type[Record], str], list[tuple[Any, ...]]] = {}
    for record in records:
        day = datetime.fromtimestamp(record.time_ms / 1000, UTC).date().isoformat()  # type: ignore[attr-defined]
        by_day.setdefault((type(record), day), []).append(record.row())
    for (kind, day), rows in by_day.items():
        place = folder / kind.table / f"date={day}"
        place.mkdir(parents=True, exist_ok=True)
        pq.write_table(to_arrow(kind, rows, kind.table), place / "part-0.parquet")
