"""The studies run small, and what they draw is what they say."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.simulation import streams
from analysis.simulation.document import Size, markdown, promises, run_studies, write_document
from analysis.simulation.streams import Scenario, final_sums, look_at, populate
from analysis.simulation.studies import leaves_out, lost_units, no_effect
from analysis.statistics.ratio import difference, estimates


def quiet(steps: Iterable[int]) -> Iterable[int]:
    return steps


@pytest.fixture(autouse=True)
def _small_population(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "_POPULATION", 20_000)


@pytest.mark.parametrize("metric", ["f1", "recall"])
def test_running_sums_end_where_the_units_sums_do(metric: str) -> None:
    scenario = Scenario(units=3000, looks=30, share=0.3, gain=0.05, metric=metric)  # type: ignore[arg-type]
    population = populate(scenario, np.random.default_rng(1))
    looks = look_at(population, np.random.default_rng(2))
    control, treatment = final_sums(population, np.random.default_rng(2))
    found = difference(estimates(treatment)[0], estimates(control)[0])
    assert looks.difference[-1] == pytest.approx(found.value)
    assert looks.error[-1] == pytest.approx(found.error)
    assert looks.units[-1] == found.units
    assert looks.arrived[-1].sum() == 3000


def test_a_population_without_a_gain_is_the_same_in_both_arms() -> None:
    scenario = Scenario(units=100, looks=2)
    assert populate(scenario, np.random.default_rng(0)).difference == 0.0
    gained = populate(replace(scenario, gain=0.05, metric="recall"), np.random.default_rng(0))
    assert gained.difference == pytest.approx(0.05, abs=0.02)


def test_nothing_is_left_out_before_there_are_enough_units() -> None:
    looks = streams.Looks(
        np.array([5.0, 5.0]),
        np.array([0.1, 0.1]),
        np.array([20.0, 900.0]),
        np.array([10.0, 400.0]),
        np.zeros((2, 2), int),
    )
    assert leaves_out(looks, 0.0).tolist() == [False, True]
    assert leaves_out(looks, 5.0).tolist() == [False, False]


def test_equal_arms_are_found_equal() -> None:
    found = no_effect(Scenario(units=4000, looks=20), 60, 0, quiet)
    assert found["sequential_false_positives"] <= 0.1
    assert found["peeking_false_positives"] > found["sequential_false_positives"]
    assert found["p_uniform_ks"]["p_value"] > 0.001
    assert no_effect(Scenario(units=4000, looks=20), 60, 0, quiet) == found


def test_a_gross_mismatch_is_caught_and_none_is_not() -> None:
    none, gross, _ = lost_units(100_000, 5, 0, quiet)
    assert gross["caught"] == 1.0
    assert none["caught_one_look"] == 0.0


def test_the_document_of_all_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.simulation.coverage._TRUTH_UNITS", 3000)
    size = Size(repetitions=3, covered=3, mismatches=2, units=20_000, units_covered=300, replicates=100)
    document = run_studies(size, 0, quiet)
    page = write_document(document, tmp_path, "2026-11-25", "the command")
    assert page.name == "2026-11-25-experiment-statistics.md"
    assert json.loads(page.with_suffix(".json").read_text()) == json.loads(json.dumps(document))
    text = markdown(document, "2026-11-25", "the command")
    assert text.count("| yes |") + text.count("| **no** |") == len(promises(document)) + len(
        document["coverage"]["intervals"]
    )
    assert "the command" in text
