"""A seed repeats a run, and no two processes or sources of it draw the same."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.run_file import RunFile
from loadtest.shapes import Plan, Stage
from loadtest.traffic.arrivals import arrivals
from loadtest.traffic.chance import Chance
from loadtest.traffic.corpus import Corpus

PLAN = Plan("steps", (Stage(20, 10, 1.0),))
# Locust patches the whole process, so its side is looked at in one of its own.
LOOK = """
import json, sys
from loadtest.generator import users
run = users.RunFile.model_validate_json(sys.argv[1])
session = users.Session(run, None)
users.gevent.spawn = users.gevent.sleep = lambda *_: None
users.send_all = lambda due, **_: found.append([arrival.at_s for arrival in due])
found = []
session.begin(json.loads(sys.argv[2]))
session.emit()
session.emit()
print(json.dumps(found + [[session._mix.draw().video_id for _ in range(5)]]))
"""


def due(seed: int | None, worker: int | None, source: int) -> list[float]:
    return [arrival.at_s for arrival in arrivals(PLAN, Chance(seed, worker).stream("source", source))]


def test_a_seed_repeats_every_workers_streams() -> None:
    assert due(7, 0, 1) == due(7, 0, 1)
    assert due(7, None, 1) == due(7, None, 1)


def test_no_two_workers_sources_or_seeds_draw_the_same() -> None:
    drawn = [due(seed, worker, source) for seed in (1, 11) for worker in (None, 0, 1, 11) for source in (1, 11)]
    assert all(one != other for one, other in itertools.combinations(drawn, 2))


def test_without_a_seed_every_run_is_another() -> None:
    assert due(None, 0, 1) != due(None, 0, 1)


@pytest.mark.slow
def test_sessions_of_workers_send_different_messages_at_different_times(corpus: Corpus, tmp_path: Path) -> None:
    run = RunFile(hosts=("http://127.0.0.1:1",), corpus=corpus.directory, plan=PLAN, record=tmp_path / "r", seed=3)

    def look(worker: int | None) -> list[list[object]]:
        command = [sys.executable, "-c", LOOK, run.model_dump_json(), json.dumps(worker)]
        done = subprocess.run(command, cwd=Path(__file__).parents[4], capture_output=True, text=True, check=True)
        found: list[list[object]] = json.loads(done.stdout)
        return found

    first, again, second = look(0), look(0), look(1)
    assert first == again
    assert all(first[0])
    assert len(first[0]) > 2
    assert all(one != other for one, other in itertools.combinations([*first, *second], 2))
