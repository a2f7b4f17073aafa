"""Everything that is found of one experiment, as one document: what ``report.json`` holds and the page shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.findings.assignment import assignment_document
from analysis.findings.decision import decide, task_verdicts
from analysis.findings.guardrails import guardrails_document
from analysis.findings.numbers import number
from analysis.findings.over_time import label_document, novelty_document
from analysis.findings.paired import paired_document
from analysis.findings.preconditions import assignment_lights, result_lights
from analysis.findings.quality import labelled_units, quality_document
from analysis.findings.slices import slices_document
from analysis.log.arms import Arms, choose_arms
from analysis.log.database import open_database
from analysis.log.files import find_files
from analysis.log.flag_labels import FlagLabels, flag_labels
from analysis.log.label_files import read_label_file
from analysis.log.read import read_rows, task_names
from analysis.log.rows import ExperimentRows
from analysis.question import Question

SCHEMA = 1


def build_report(log: Path, feedback: Sequence[Path], question: Question) -> dict[str, Any]:
    """The report of an experiment.

    Args:
        log: the folder of the decision log.
        feedback: files of labels beside it.
        question: what is asked.

    Raises:
        AnalysisError: a file cannot be read, or the log does not hold what is asked for.
    """
    told = [one for path in feedback for one in read_label_file(path)]
    database, repeated = open_database(find_files(log), told)
    with database:
        arms = choose_arms(database, question)
        labels = {
            task: flag_labels(database, task, arms.experiment, question.positive.get(task, ()))
            for task in task_names(database, arms.experiment)
        }
        rows = read_rows(database, arms, labels, question)
    head = _head(arms, rows, question, repeated)
    assignment = assignment_document(rows.assignment, question)
    lights = assignment_lights(assignment)
    names = (arms.control, arms.treatment)
    if assignment["mismatch"]:
        decision = decide(lights, {}, {}, names, question)
        return head | {"decision": decision, "preconditions": lights, "assignment": assignment}
    tasks = {
        name: _task(rows, name, flags, question, seed) for seed, (name, flags) in enumerate(labels.items(), start=1)
    }
    guardrails = guardrails_document(rows, question)
    lights += result_lights(tasks, guardrails, question)
    verdicts = task_verdicts(tasks, question)
    for name, verdict in verdicts.items():
        tasks[name]["verdict"] = verdict
    return head | {
        "decision": decide(lights, verdicts, guardrails, names, question),
        "preconditions": lights,
        "assignment": assignment,
        "guardrails": guardrails,
        "tasks": tasks,
    }


def _head(arms: Arms, rows: ExperimentRows, question: Question, repeated: dict[str, int]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "experiment": arms.experiment,
        "control": arms.control,
        "treatment": arms.treatment,
        "question": question.model_dump(mode="json"),
        "window": {"first_exposure_ms": rows.begin_ms, "last_exposure_ms": rows.end_ms},
        "repeated_rows_dropped": repeated,
        "label_sources": dict(rows.sources),
    }


def _task(rows: ExperimentRows, name: str, flags: FlagLabels, question: Question, seed: int) -> dict[str, Any]:
    own = rows.tasks[name]
    weights = own.weight[own.labelled]
    return {
        "flag_labels": list(flags.labels),
        "flag_labels_inferred": flags.inferred,
        "verdicts_unsupported": list(rows.unsupported[name]),
        "labelled_units": labelled_units(own),
        "sampled_with": [number(float(1 / w)) for w in (weights.max(), weights.min())] if len(weights) else None,
        "labels": label_document(own, rows.end_ms),
        "quality": quality_document(rows, name, question, calibrated=flags.probability, seed=seed),
        "paired": paired_document(rows.pairs[name], rows.units, question, calibrated=flags.probability, seed=seed),
        "novelty": novelty_document(own, question),
        "slices": slices_document(own, question),
    }
