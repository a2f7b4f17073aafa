"""A labelled set scored with a bundle: the same decisions as a service, every score on disk, the worst on a page."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from contract.bundle import Bundle, read_bundle
from contract.decision import TaskKind, TaskPolicy, TaskSpec
from contract.example import RawExample, collate, read_example
from contract.video import DecodeLimits
from model_export.__main__ import main
from model_export.errors import ExportError
from model_export.scoring.page import Pictures, render_page
from model_export.scoring.scored_rows import ScoredRow, ScoredSet, score_rows
from model_export.scoring.summary import summarise, worst
from model_export.scoring.thumbnails import data_uri, thumbnails
from model_export.sessions import graphs_of
from tests.synthetic_bundle import TASKS, write_clip, write_synthetic_bundle
from training.data.manifest import Manifest, Row
from training.data.manifest_io import write_manifest

HOSTILE = '<script>alert(1)</script>&"'
Made = tuple[Path, Manifest, Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A bundle, labelled rows (ten clips, one of them broken; twelve titles), a place for frames."""
    home = tmp_path_factory.mktemp("score")
    rows = []
    for n in range(9):
        write_clip(home / f"c{n}.mp4", seconds=0.5, seed=n)
        label = "violent" if n % 2 else "calm"
        rows.append(Row(id=f"c{n}", video=f"c{n}.mp4", labels={"violence": label}, split="test", group=f"g{n}"))
    (home / "broken.mp4").write_bytes(b"no clip")
    rows.append(Row(id="broken", video="broken.mp4", labels={"violence": "calm"}, split="test", group="b"))
    words = ["cat", "news", "bird", "park"]
    for n in range(12):
        texts = {"title": " ".join(words[: 1 + n % 4]) + (HOSTILE if n == 0 else "")}
        labels: dict[str, str | list[str]] = {
            "clickbait": "clickbait" if n % 3 == 0 else "plain",
            "topics": ["news"] if n % 2 else [],
        }
        rows.append(Row(id=f"t{n}", texts=texts, labels=labels, split="test", group=f"t{n}"))
    rows.append(Row(id="seen", texts={"title": "cat"}, labels={"clickbait": "plain"}, split="train", group="s"))
    rows.append(Row(id="clipless", texts={"title": "a cat"}, labels={"violence": "calm"}, split="test", group="x"))
    manifest = Manifest(name="labelled", tasks=TASKS, media_root=str(home), rows=tuple(rows))
    write_manifest(manifest, home / "manifest")
    return write_synthetic_bundle(home / "bundle"), manifest, home / "cache"


@pytest.fixture(scope="module")
def bundle(made: Made) -> Bundle:
    return read_bundle(made[0])


@pytest.fixture(scope="module")
def found(made: Made, bundle: Bundle) -> ScoredSet:
    return score_rows(bundle, made[1], made[2], "test", None, progress=False)


def test_scores_are_those_that_a_service_gives(found: ScoredSet, bundle: Bundle, made: Made) -> None:
    row = next(r for r in found.scored["violence"] if r.row.id == "c3")
    path = made[1].video_path(row.row)
    inputs = read_example(RawExample(path, {}), bundle.manifest.input_spec, bundle.tokenizer, DecodeLimits())
    logit = graphs_of(bundle).run(collate([inputs], bundle.tokenizer.pad_id))["violence"][0, 0]
    temperature = bundle.manifest.policy.tasks["violence"].temperature
    assert row.decision.flag_score == pytest.approx(1 / (1 + np.exp(-logit / temperature)), abs=1e-6)


def test_what_cannot_be_scored_is_counted(found: ScoredSet, bundle: Bundle, made: Made) -> None:
    assert len(found.scored["violence"]) == 9
    assert sum(found.unreadable.values()) == 1
    assert found.unanswered["violence"] == 1
    assert len(found.scored["clickbait"]) == 12
    everything = score_rows(bundle, made[1], made[2], "all", None, progress=False)
    assert len(everything.scored["clickbait"]) == 13


def test_the_worst_are_the_farthest_on_the_wrong_side(found: ScoredSet) -> None:
    def scored(row_id: str, score: float, *, positive: bool, flagged: bool) -> ScoredRow:
        one = found.scored["violence"][0]
        decision = replace(one.decision, flag_score=score, threshold=0.5, flagged=flagged)
        return ScoredRow(one.row.model_copy(update={"id": row_id}), decision, positive)

    rows = [
        scored("near", 0.45, positive=True, flagged=False),
        scored("far", 0.05, positive=True, flagged=False),
        scored("right", 0.01, positive=False, flagged=False),
        scored("caught", 0.99, positive=True, flagged=True),
        scored("alarm", 0.9, positive=False, flagged=True),
        scored("small alarm", 0.51, positive=False, flagged=True),
    ]
    ids = {outcome: [row.row.id for row in part] for outcome, part in worst(rows, 2).items()}
    assert ids == {"missed": ["far", "near"], "false alarm": ["alarm", "small alarm"]}
    assert [row.row.id for row in worst(rows, 1)["missed"]] == ["far"]
    assert [row.outcome for row in rows[2:4]] == ["passed", "caught"]


def test_a_task_that_is_not_served_is_scored_all_the_same(bundle: Bundle, made: Made) -> None:
    policy = bundle.manifest.policy
    tasks = {n: p.model_copy(update={"unserved": "at chance"}) for n, p in policy.tasks.items()}
    manifest = bundle.manifest.model_copy(update={"policy": policy.model_copy(update={"tasks": tasks})})
    unserved = replace(bundle, manifest=manifest)
    found = score_rows(unserved, made[1], made[2], "test", None, progress=False)
    assert len(found.scored["violence"]) == 9
    document = summarise(found, unserved, made[1])
    assert document["tasks"]["violence"]["unserved"] == "at chance"


def test_rates_count_mistakes_and_few_groups_are_said(found: ScoredSet, bundle: Bundle, made: Made) -> None:
    task = summarise(found, bundle, made[1])["tasks"]["violence"]
    rows = found.scored["violence"]
    missed = [r for r in rows if r.positive and not r.decision.flagged]
    assert (task["rows"], task["positives"], task["missed"]) == (9, 4, len(missed))
    assert task["metrics"]["miss_rate"]["value"] == pytest.approx(len(missed) / 4, abs=1e-4)
    assert task["too_little_data"].startswith("held-out positives stand in 4 groups and negatives in 5")


def test_rows_that_the_model_was_trained_on_are_told(found: ScoredSet, bundle: Bundle, made: Made) -> None:
    provenance = bundle.manifest.provenance.model_copy(update={"manifest_digest": made[1].digest()})
    own = replace(bundle, manifest=bundle.manifest.model_copy(update={"provenance": provenance}))
    assert summarise(found, own, made[1])["notes"] == []
    for part in ("train", "val", "all"):
        assert "fitted on those" in summarise(replace(found, part=part), own, made[1])["notes"][0]
    assert summarise(replace(found, part="all"), bundle, made[1])["notes"] == []


def test_other_labels_or_no_common_task_are_refused(bundle: Bundle, made: Made) -> None:
    other = TaskSpec(name="violence", kind=TaskKind.BINARY, labels=("fine", "violent"))
    changed = made[1].model_copy(update={"tasks": (other,), "rows": made[1].rows[:9]})
    with pytest.raises(ExportError, match="task violence: the bundle's labels are calm, violent"):
        score_rows(bundle, changed, made[2], "test", None, progress=False)
    alone = made[1].model_copy(update={"tasks": (other.model_copy(update={"name": "spam"}),)})
    with pytest.raises(ExportError, match=r"no task in common: the bundle answers violence, .* labels spam"):
        score_rows(bundle, alone, made[2], "test", None, progress=False)
    with pytest.raises(ExportError, match="no labelled row of val"):
        score_rows(bundle, made[1], made[2], "val", None, progress=False)


def test_a_thumbnail_is_the_frame() -> None:
    ramp = np.mgrid[0:64, 0:64][0].astype(np.uint8) * 3
    picture = np.stack([ramp, ramp.T, np.full_like(ramp, 40)], axis=-1)
    head, data = data_uri(picture).split(",")
    assert head == "data:image/jpeg;base64"
    with av.open(io.BytesIO(base64.b64decode(data))) as container:
        seen = next(container.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    assert seen.shape == (64, 64, 3)
    assert np.abs(seen - picture).mean() < 6


def test_frames_are_taken_at_equal_distances() -> None:
    frames = np.stack([np.full((16, 16, 3), 20 * t, np.uint8) for t in range(12)])
    assert [data_uri(frames[t]) for t in (2, 6, 10)] == thumbnails(frames, 3)
    assert len(thumbnails(frames[:1], 3)) == 1
    large = thumbnails(np.zeros((1, 300, 300, 3), np.uint8), 1)[0]
    with av.open(io.BytesIO(base64.b64decode(large.split(",")[1]))) as container:
        assert next(container.decode(video=0)).width == 128


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def _mistakes(found: ScoredSet, number: int) -> dict[str, Any]:
    return {name: worst(rows, number) for name, rows in found.scored.items()}


def test_the_page_loads_nothing_and_escapes_what_rows_hold(found: ScoredSet, bundle: Bundle, made: Made) -> None:
    strict = {task: TaskPolicy(thresholds={"flag": 1.0}) for task in ("violence", "clickbait")}
    policy = bundle.manifest.policy
    policy = policy.model_copy(update={"tasks": {**policy.tasks, **strict}})
    blind = replace(bundle, manifest=bundle.manifest.model_copy(update={"policy": policy}))
    found = score_rows(blind, made[1], made[2], "test", None, progress=False)
    page = render_page(summarise(found, blind, made[1]), found, _mistakes(found, 24))
    tags = Tags()
    tags.feed(page)
    pictures = [attributes["src"] or "" for tag, attributes in tags.found if tag == "img"]
    assert len(pictures) == 3 * 4  # every positive clip is missed
    assert all(source.startswith("data:image/jpeg;base64,") for source in pictures)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in tags.found}
    assert "&lt;script&gt;" in page
    assert HOSTILE not in page
    assert "Misses 4 of 4 positives, flags 0 of 5 negatives." in page
    assert "Not to be served so: its threshold flags 0% of held-out positives and 0% of negatives." in page
    assert re.search(r"Too little data to tell: held-out positives stand in 4 groups", page)


def test_a_full_page_shows_the_rest_without_pictures(found: ScoredSet, bundle: Bundle, made: Made) -> None:
    document, mistakes = summarise(found, bundle, made[1]), _mistakes(found, 24)
    clips = sum(len(rows) for rows in mistakes["violence"].values())
    assert clips > 1
    page = render_page(document, found, mistakes, Pictures(found, limit=1))
    assert page.count("<img") == 3
    assert f"{clips - 1} mistakes are shown without pictures: the page is full." in page


def test_the_command_writes_every_score_and_the_page(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["score", "--bundle", str(made[0]), "--manifest", str(made[2].parent / "manifest"), "--cache", str(made[2])]
    with pytest.raises(SystemExit) as done:
        main([*asked, "--out", str(tmp_path / "out"), "--worst", "2"])
    assert done.value.code == 0
    told = json.loads(capsys.readouterr().out)
    written = json.loads((tmp_path / "out" / "scores.json").read_text())
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(written["rows"]) == 9 + 12 + 12
    assert told["tasks"]["violence"]["missed"] == written["tasks"]["violence"]["missed"]
    by_key = {(row["id"], row["task"]): row for row in table}
    for row in written["rows"]:
        assert float(by_key[row["id"], row["task"]]["flag_score"]) == row["flag_score"]
        assert (row["flag_score"] >= row["threshold"]) == row["flagged"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["mistakes.html", "scores.csv", "scores.json"]
    with pytest.raises(SystemExit) as done:
        main([*asked, "--out", str(tmp_path / "out"), "--split", "most"])
    assert done.value.code == 2


@pytest.mark.parametrize(
    ("provenance", "fold", "said"),
    [
        ({"every_fold_seen": True}, 1, "trained on every fold"),
        ({"test_fold": 0}, 1, "left out fold 0, not fold 1: it was trained or calibrated on the rows of "),
        ({"test_fold": 1}, 1, None),
        ({"every_fold_seen": True}, None, None),
    ],
)
def test_rows_of_a_fold_that_the_model_was_trained_on_are_said_to_be(
    provenance: dict[str, Any], fold: int | None, said: str | None, found: ScoredSet, bundle: Bundle, made: Made
) -> None:
    """A row of the fixed test split is unseen all the same."""
    known = {"manifest_digest": made[1].digest(), **provenance}
    origin = bundle.manifest.provenance.model_copy(update=known)
    of = replace(bundle, manifest=bundle.manifest.model_copy(update={"provenance": origin}))
    moved = {
        name: [replace(one, row=one.row.model_copy(update={"fold": fold})) for one in rows]
        for name, rows in found.scored.items()
    }
    notes = summarise(replace(found, scored=moved), of, made[1])["notes"]
    assert len(notes) == (said is not None)
    assert said is None or said in notes[0]
