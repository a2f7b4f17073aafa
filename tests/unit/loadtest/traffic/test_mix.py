"""What is drawn: shares, forms, duplicates, ids that steer arms."""

from __future__ import annotations

import email
import random
from collections import Counter
from urllib.parse import parse_qs, urlsplit

import pytest

from loadtest.traffic.corpus import Corpus, Expect
from loadtest.traffic.mix import DEFAULT_WEIGHTS, Kind, Message, Mix


def draw(corpus: Corpus, count: int, **options: object) -> list[Message]:
    mix = Mix(corpus, random.Random(5), **options)  # type: ignore[arg-type]
    return [mix.draw() for _ in range(count)]


def fields(message: Message) -> dict[str, bytes]:
    whole = email.message_from_bytes(f"Content-Type: {message.content_type}\r\n\r\n".encode() + message.body)
    parts = whole.get_payload()
    assert isinstance(parts, list)
    return {str(part.get_param("name", header="content-disposition")): part.get_payload(decode=True) for part in parts}


def test_kinds_come_in_their_shares(corpus: Corpus) -> None:
    counts = Counter(message.kind for message in draw(corpus, 4000))
    total = sum(DEFAULT_WEIGHTS.values())
    for kind, weight in DEFAULT_WEIGHTS.items():
        assert counts[kind] / 4000 == pytest.approx(weight / total, abs=0.03), kind


def test_forms_hold_clip_title_and_id(corpus: Corpus) -> None:
    (message,) = draw(corpus, 1, weights={Kind.FORM: 1})
    found = fields(message)
    assert set(found) == {"video", "title", "video_id"}
    assert found["video"] in [corpus.read(clip) for clip in corpus.good]
    assert found["video_id"].decode().strip() == message.video_id
    (text,) = draw(corpus, 1, weights={Kind.TEXT: 1})
    assert set(fields(text)) == {"title", "video_id"}


def test_raw_bodies_carry_their_texts_in_the_query(corpus: Corpus) -> None:
    (message,) = draw(corpus, 1, weights={Kind.RAW: 1})
    assert set(parse_qs(urlsplit(message.path).query)) == {"title", "video_id"}
    assert message.body in [corpus.read(clip) for clip in corpus.good]
    assert message.content_type.startswith("video/")


def test_duplicates_repeat_an_earlier_form(corpus: Corpus) -> None:
    messages = draw(corpus, 200, weights={Kind.FORM: 1, Kind.DUPLICATE: 1})
    forms = {m.video_id: fields(m) for m in messages if m.kind is Kind.FORM}
    repeats = [m for m in messages[10:] if m.kind is Kind.DUPLICATE]
    assert repeats
    assert all(fields(m) == forms[m.video_id] for m in repeats)


def test_hostile_clips_deserve_a_problem(corpus: Corpus) -> None:
    assert {m.expect for m in draw(corpus, 20, weights={Kind.HOSTILE: 1})} == {Expect.PROBLEM}


def test_those_who_leave(corpus: Corpus) -> None:
    assert all(0 < m.send_share < 1 for m in draw(corpus, 20, weights={Kind.LEAVE_UPLOADING: 1}))
    assert all(m.leave_s is not None for m in draw(corpus, 20, weights={Kind.LEAVE_WAITING: 1}))


def test_ids_steer_the_share_of_an_arm(corpus: Corpus) -> None:
    ids = {"student": ["s1", "s2"], "baseline": ["b1"], "third": ["t1"]}
    mix = Mix(corpus, random.Random(6), {Kind.TEXT: 1}, ids)
    drawn = [mix.draw("student", 0.25).video_id or "" for _ in range(2000)]
    assert sum(name.startswith("s") for name in drawn) / 2000 == pytest.approx(0.25, abs=0.04)


def test_a_mix_of_nothing_is_refused(corpus: Corpus) -> None:
    with pytest.raises(ValueError, match="no weight"):
        draw(corpus, 1, weights={Kind.FORM: 0})
