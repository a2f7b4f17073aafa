"""Damaged media are drawn by seed and number, and what comes back is judged."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.media_fuzz.__main__ import Tally, page, resumed, verdict_on
from benchmarks.media_fuzz.damage import DAMAGES, Damage, damaged

BASES = (bytes(range(256)) * 40, b"abc")


def test_a_file_is_the_same_whenever_it_is_drawn() -> None:
    files = [damaged(BASES, 7, number) for number in range(50)]
    assert files == [damaged(BASES, 7, number) for number in range(50)]
    assert len({*files}) > 40
    assert all(files)
    assert files != [damaged(BASES, 8, number) for number in range(50)]


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_changes_a_file_and_stands_a_single_byte(damage: Damage) -> None:
    data = bytearray(BASES[0])
    damage(data, random.Random(1))
    assert data != BASES[0]
    damage(bytearray(b"x"), random.Random(1))


@pytest.mark.parametrize(
    ("answer", "code", "typed"),
    [
        (b'HTTP/1.1 200 OK\r\n\r\n{"request_id": "fuzz-3", "tasks": {}}', "ok", True),
        (b'HTTP/1.1 422 x\r\n\r\n{"request_id": "fuzz-3", "code": "no_frames", "detail": "d"}', "no_frames", True),
        (b'HTTP/1.1 422 x\r\n\r\n{"request_id": "another", "code": "no_frames", "detail": "d"}', "no_frames", False),
        (b"HTTP/1.1 500 x\r\n\r\nInternal Server Error", None, False),
        (b"", None, False),
    ],
)
def test_an_answer_is_typed_or_it_is_not(answer: bytes, code: str | None, typed: bool) -> None:
    assert verdict_on(answer, "fuzz-3") == (code, typed)


def test_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    assert resumed(state, 1) == Tally()
    tally = Tally(sent=500, answers=Counter(ok=499), hangs=[17], restarts=Counter(failed=1), seconds=2.0, rss_mb=[1.0])
    state.write_text(json.dumps({"seed": 1, **vars(tally)}))
    assert resumed(state, 1) == tally
    assert resumed(state, 2) == Tally()
    assert not tally.clean
    figures = {"date": "d", "machine": "m", "bases": 2, "seed": 1, **vars(tally)}
    assert "| not answered within 60 s | 1 |" in page(figures)
