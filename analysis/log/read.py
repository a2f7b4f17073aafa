"""The database -> the arrays of one experiment."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import duckdb
import numpy as np
from numpy.typing import NDArray

from analysis.errors import LogUnreadable
from analysis.log.arms import Arms
from analysis.log.database import Database, count
from analysis.log.flag_labels import FlagLabels
from analysis.log.rows import Array, Assignment, ExperimentRows, PairRows, Requests, TaskRows
from analysis.question import Question

DAY_MS: Final = 86_400_000
_FAR: Final = 2**62

_SCOPE = """
CREATE OR REPLACE TABLE scope AS SELECT * FROM exposures
WHERE experiment = ? AND time_ms >= ? AND time_ms < ? AND NOT forced AND NOT holdout
"""
_FIRST_MET = """
CREATE OR REPLACE TABLE first_met AS
SELECT unit_hash, arm, time_ms, arms, row_number() OVER (ORDER BY time_ms, decision_id) - 1 AS place
FROM (SELECT *, row_number() OVER (PARTITION BY unit_hash ORDER BY time_ms, decision_id) AS nth FROM scope)
JOIN (SELECT unit_hash, count(DISTINCT arm) AS arms FROM scope GROUP BY unit_hash) USING (unit_hash)
WHERE nth = 1
"""
_COMPARED = """
CREATE OR REPLACE TABLE compared AS
SELECT unit_hash, arm = ? AS treated, row_number() OVER (ORDER BY place) - 1 AS unit
FROM first_met WHERE arms = 1 AND arm IN (?, ?)
"""
_REQUESTS = """
SELECT c.unit, c.treated::BIGINT AS arm, e.time_ms, coalesce(d.code, 'no_decision') AS code, d.latency_ms,
       d.decode_cpu_s + d.model_cpu_s AS cpu_s
FROM scope e JOIN compared c USING (unit_hash)
LEFT JOIN decisions d ON d.decision_id = e.decision_id AND d.arm = e.arm AND NOT d.shadow
ORDER BY e.time_ms, e.decision_id
"""
_LABELS = """
CREATE OR REPLACE TABLE labels AS SELECT * FROM (
  SELECT e.decision_id AS of_decision, f.* FROM scope e JOIN feedback f ON f.decision_id = e.decision_id
  UNION ALL
  SELECT e.decision_id, f.* FROM scope e JOIN feedback f ON f.decision_id IS NULL AND f.video_hash = e.video_hash
) WHERE len(?) = 0 OR list_contains(?, source)
QUALIFY row_number() OVER (PARTITION BY of_decision, task ORDER BY time_ms DESC, feedback_id DESC) = 1
"""
_VERDICTS = """
CREATE OR REPLACE TABLE verdicts AS
SELECT e.decision_id AS request, c.unit, c.treated::BIGINT AS arm, (d.arm = ?)::BIGINT AS answered_by,
       d.shadow::BOOLEAN AS shadow, d.time_ms, j.key AS task, (j.value->>'flagged')::BOOLEAN AS flagged,
       (j.value->>'flag_score')::DOUBLE AS score, (j.value->>'supported')::BOOLEAN AS supported
FROM scope e JOIN compared c USING (unit_hash)
JOIN decisions d ON d.decision_id = e.decision_id AND d.arm IN (?, ?), json_each(d.tasks) j
WHERE d.code = 'ok'
"""
_TASK = """
SELECT v.unit, v.arm, v.answered_by, v.shadow, v.time_ms, v.flagged, v.score, v.request,
       coalesce(list_has_any(from_json(l.labels, '["VARCHAR"]'), ?), FALSE) AS positive,
       coalesce(1 / l.sampled_with, 0) AS weight, l.views, l.time_ms::DOUBLE AS label_ms, l.attributes
FROM verdicts v LEFT JOIN labels l ON l.of_decision = v.request AND l.task = v.task
WHERE v.task = ? AND v.supported ORDER BY v.time_ms, v.request
"""
_EARLIER = """
SELECT c.unit, avg((j.value->>'flag_score')::DOUBLE) AS score
FROM exposures e JOIN compared c USING (unit_hash)
JOIN decisions d ON d.decision_id = e.decision_id AND d.arm = e.arm AND NOT d.shadow, json_each(d.tasks) j
WHERE e.experiment <> ? AND d.time_ms < ? AND d.code = 'ok' AND j.key = ? GROUP BY c.unit
"""


def task_names(database: Database, experiment: str) -> list[str]:
    """Every task that a verdict of the experiment answers, by name.

    Raises:
        LogUnreadable: a decision's tasks are no JSON.
    """
    query = "SELECT DISTINCT j.key FROM decisions d, json_each(d.tasks) j WHERE d.experiment = ? ORDER BY 1"
    try:
        return [str(row[0]) for row in database.execute(query, [experiment]).fetchall()]
    except duckdb.Error as error:
        raise LogUnreadable(f"table decisions: {str(error).splitlines()[0]}") from error


def read_rows(database: Database, arms: Arms, labels: Mapping[str, FlagLabels], question: Question) -> ExperimentRows:
    """The experiment as arrays.

    Args:
        database: of ``open_database``.
        arms: of ``choose_arms``.
        labels: task -> what raises its flag; other tasks are left out.
        question: its window of time and sources.

    Raises:
        LogUnreadable: a nested field is no JSON, or no exposure is within the window.
    """
    window = [question.since_ms or 0, question.until_ms or _FAR]
    database.execute(_SCOPE, [arms.experiment, *window])
    if not count(database, "SELECT count(*) FROM scope"):
        raise LogUnreadable(f"experiment {arms.experiment}: no exposure between --since and --until")
    database.execute(_FIRST_MET)
    database.execute(_COMPARED, [arms.treatment, arms.control, arms.treatment])
    database.execute(_LABELS, [list(question.sources)] * 2)
    database.execute(_VERDICTS, [arms.treatment, arms.control, arms.treatment])
    unit_arm = _fetch(database, "SELECT treated::BIGINT AS arm FROM compared ORDER BY unit")["arm"]
    tasks, pairs, earlier, unsupported = {}, {}, {}, {}
    start = count(database, "SELECT min(time_ms) FROM exposures WHERE experiment = ?", [arms.experiment])
    for task, flags in labels.items():
        columns = _fetch(database, _TASK, [list(flags.labels), task])
        rows = _task_rows(columns)
        tasks[task] = rows.take(~columns["shadow"] & (columns["arm"] == columns["answered_by"]))
        pairs[task] = _pairs(rows, columns)
        earlier[task] = _earlier(database, [arms.experiment, start, task], len(unit_arm))
        unsupported[task] = _unsupported(database, task)
    spread = database.execute("SELECT min(time_ms), max(time_ms) FROM scope").fetchone()
    assert spread is not None
    return ExperimentRows(
        assignment=_assignment(database, arms, window),
        units=len(unit_arm),
        unit_arm=unit_arm,
        requests=_requests(database),
        tasks=tasks,
        unsupported=unsupported,
        pairs=pairs,
        earlier=earlier,
        sources={str(s): int(n) for s, n in database.execute(
            "SELECT source, count(*) FROM labels GROUP BY 1 ORDER BY 1").fetchall()},
        begin_ms=int(spread[0]),
        end_ms=int(spread[1]),
    )  # fmt: skip


def _assignment(database: Database, arms: Arms, window: Sequence[int]) -> Assignment:
    met = _fetch(database, "SELECT arm, time_ms FROM first_met ORDER BY place")
    place = {arm: k for k, arm in enumerate(arms.every)}
    left_out = "SELECT count(*) FROM exposures WHERE experiment = ? AND time_ms >= ? AND time_ms < ? AND "
    crossed = database.execute("SELECT unit_hash FROM first_met WHERE arms > 1 ORDER BY place").fetchall()
    return Assignment(
        order=np.asarray([place[arm] for arm in met["arm"]], np.int64),
        days=met["time_ms"] // DAY_MS,
        arms=arms.every,
        crossed=tuple(str(row[0]) for row in crossed),
        forced=count(database, left_out + "forced", [arms.experiment, *window]),
        holdout=count(database, left_out + "holdout AND NOT forced", [arms.experiment, *window]),
    )


def _requests(database: Database) -> Requests:
    columns = _fetch(database, _REQUESTS)
    code = columns["code"].astype(str)
    return Requests(
        columns["unit"], columns["arm"], columns["time_ms"], code == "ok", code, columns["latency_ms"], columns["cpu_s"]
    )


def _task_rows(columns: Mapping[str, NDArray[Any]]) -> TaskRows:
    names = ("unit", "arm", "time_ms", "flagged", "score", "positive", "weight", "views", "label_ms")
    return TaskRows(**{name: columns[name] for name in names}, slices=_slices(columns["attributes"]))


def _slices(attributes: NDArray[Any]) -> dict[str, NDArray[Any]]:
    values: dict[str, NDArray[Any]] = {}
    for row, text in enumerate(attributes):
        if text and text != "{}":
            for name, value in json.loads(text).items():
                if name not in values:
                    values[name] = np.full(len(attributes), "", object)
                values[name][row] = str(value)
    return values


def _pairs(rows: TaskRows, columns: Mapping[str, NDArray[Any]]) -> PairRows:
    """Requests that both arms answered, in the order of the reply's time."""
    by: list[dict[str, int]] = [{}, {}]
    shadowed = set(columns["request"][columns["shadow"]].tolist())
    for row, (request, arm) in enumerate(zip(columns["request"], columns["answered_by"], strict=True)):
        if request in shadowed:
            by[int(arm)][request] = row
    both = [request for request in by[0] if request in by[1]]
    sides = [rows.take(np.asarray([by[arm][request] for request in both], np.int64)) for arm in (0, 1)]
    return PairRows(*sides)


def _earlier(database: Database, values: Sequence[Any], units: int) -> Array:
    columns = _fetch(database, _EARLIER, values)
    scores = np.full(units, np.nan)
    scores[columns["unit"]] = columns["score"]
    return scores


def _unsupported(database: Database, task: str) -> tuple[int, int]:
    query = "SELECT count(*) FROM verdicts WHERE task = ? AND NOT supported AND NOT shadow AND arm = ?"
    return count(database, query, [task, 0]), count(database, query, [task, 1])


def _fetch(database: Database, query: str, values: Sequence[Any] = ()) -> dict[str, NDArray[Any]]:
    """The columns of a query; missing numbers as NaN, missing texts as the empty text."""
    try:
        columns = database.execute(query, list(values)).fetchnumpy()
    except duckdb.Error as error:
        raise LogUnreadable(str(error).splitlines()[0]) from error
    return {name: _plain(column) for name, column in columns.items()}


def _plain(column: Any) -> NDArray[Any]:
    if not np.ma.isMA(column):
        return np.asarray(column)
    if column.dtype == object:
        return np.asarray(column.filled(""))
    if column.dtype == np.bool_:
        return np.asarray(column.filled(False))
    if np.ma.is_masked(column):
        return np.asarray(np.ma.filled(column.astype(np.float64), np.nan))
    return np.asarray(column.data)
