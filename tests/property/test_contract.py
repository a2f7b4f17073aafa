"""What holds for every clip, every text and every logit."""

from __future__ import annotations

import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from contract.bundle import read_bundle
from contract.decision import Modality, TaskKind, TaskPolicy, TaskSpec, decide_task
from contract.errors import InvalidText
from contract.input_spec import InputSpec, TextField
from contract.text import TextTokenizer
from contract.video import DecodeLimits, decode
from contract.video.sampling import on_screen, target_times
from tests.synthetic_bundle import SPEC, write_synthetic_bundle
from tests.unit.contract.clips import expected_numbers, read_number, sequential, write_numbered

BOTH = frozenset({Modality.VIDEO, Modality.TEXT})
SAMPLINGS = st.sampled_from(["segment_middle", "segment_first"])
LOGITS = st.floats(-60, 60)
TEMPERATURES = st.floats(0.05, 20)


@given(
    times=st.lists(st.floats(0, 1e4), min_size=1, max_size=60, unique=True).map(sorted),
    tail=st.floats(1e-3, 10),
    frames=st.integers(1, 64),
    sampling=SAMPLINGS,
)
def test_sampling_stays_in_bounds_and_in_order(times: list[float], tail: float, frames: int, sampling: str) -> None:
    end_s = times[-1] + tail
    targets = target_times(times[0], end_s, InputSpec(frames=frames, sampling=sampling))  # type: ignore[arg-type]
    assert len(targets) == frames
    assert times[0] <= targets[0]
    assert targets[-1] < end_s
    assert all(a < b for a, b in pairwise(targets))
    chosen = on_screen(times, targets)
    assert all(0 <= i < len(times) for i in chosen)
    assert chosen == sorted(chosen)
    for target, i in zip(targets, chosen, strict=True):
        assert times[i] <= target + 1e-9
        assert i + 1 == len(times) or times[i + 1] > target


@settings(max_examples=40, deadline=None)
@given(
    pictures=st.integers(1, 40),
    gop=st.integers(1, 45),
    b_frames=st.integers(0, 4),
    frames=st.integers(1, 12),
    sampling=SAMPLINGS,
    open_gop=st.booleans(),
    suffix=st.sampled_from([".mp4", ".mkv", ".ts"]),
    gaps=st.data(),
)
def test_the_pictures_are_those_of_sequential_decoding(
    pictures: int,
    gop: int,
    b_frames: int,
    frames: int,
    sampling: str,
    open_gop: bool,
    suffix: str,
    gaps: st.DataObject,
) -> None:
    assume(suffix != ".ts" or pictures > 12)  # FFmpeg knows a transport stream by ten packets or more
    steps = gaps.draw(st.lists(st.integers(10, 200), min_size=pictures, max_size=pictures))
    spec = InputSpec.model_validate({"frames": frames, "frame_size": 64, "sampling": sampling})
    with tempfile.TemporaryDirectory() as folder:
        clip = write_numbered(
            Path(folder) / f"a{suffix}",
            pictures,
            gop=gop,
            b_frames=b_frames,
            times_ms=[sum(steps[:i]) for i in range(pictures)],
            options={"x264-params": f"open-gop={int(open_gop)}:b-pyramid=normal", "preset": "veryfast"},
        )
        decoded = decode(clip, spec, DecodeLimits())
        oracle = sequential(clip)
    wanted = expected_numbers([time_s for time_s, _ in oracle], decoded.probe.end_s, spec)
    assert [read_number(picture) for picture in decoded.pixels] == [read_number(oracle[i][1]) for i in wanted]
    assert decoded.times_ms == pytest.approx([oracle[i][0] * 1000 for i in wanted], abs=0.01)


@given(logit=LOGITS, temperature=TEMPERATURES, threshold=st.floats(0, 1), supported=st.booleans())
def test_binary_decisions(logit: float, temperature: float, threshold: float, supported: bool) -> None:
    task = TaskSpec(name="t", kind=TaskKind.BINARY, labels=("no", "yes"), modalities=(Modality.TEXT,))
    read = frozenset({Modality.TEXT if supported else Modality.VIDEO})
    policy = TaskPolicy(temperature=temperature, thresholds={"flag": threshold})
    decided = decide_task(np.asarray([logit]), task, policy, read)
    assert sum(decided.scores.values()) == pytest.approx(1)
    assert decided.flagged == (supported and decided.scores["yes"] >= threshold)
    assert decided.supported == supported


@given(logits=st.lists(LOGITS, min_size=4, max_size=4), temperature=TEMPERATURES, threshold=st.floats(0, 1))
def test_multiclass_decisions(logits: list[float], temperature: float, threshold: float) -> None:
    task = TaskSpec(name="t", kind=TaskKind.MULTICLASS, labels=tuple("abcd"), flag_labels=("b", "d"))
    policy = TaskPolicy(temperature=temperature, thresholds={"flag": threshold})
    decided = decide_task(np.asarray(logits), task, policy, BOTH)
    assert sum(decided.scores.values()) == pytest.approx(1)
    assert decided.scores[decided.label] == max(decided.scores.values())
    assert decided.flag_score == pytest.approx(decided.scores["b"] + decided.scores["d"])
    assert decided.flagged == (decided.flag_score >= threshold)
    assert set(decided.flagged_labels) <= {"b", "d"}


@given(
    logits=st.lists(LOGITS, min_size=3, max_size=3),
    thresholds=st.lists(st.floats(0, 1), min_size=3, max_size=3),
    temperature=TEMPERATURES,
)
def test_multilabel_decisions(logits: list[float], thresholds: list[float], temperature: float) -> None:
    task = TaskSpec(name="t", kind=TaskKind.MULTILABEL, labels=tuple("abc"))
    policy = TaskPolicy(temperature=temperature, thresholds=dict(zip("abc", thresholds, strict=True)))
    decided = decide_task(np.asarray(logits), task, policy, BOTH)
    over = {name for name in "abc" if decided.scores[name] >= policy.thresholds[name]}
    assert set(decided.flagged_labels) == over
    assert decided.flagged == bool(over) == (decided.flag_score >= decided.threshold)


@given(logit=LOGITS, colder=TEMPERATURES, hotter=TEMPERATURES)
def test_a_higher_temperature_never_makes_a_score_more_certain(logit: float, colder: float, hotter: float) -> None:
    assume(colder <= hotter)
    task = TaskSpec(name="t", kind=TaskKind.BINARY, labels=("no", "yes"))

    def certainty(temperature: float) -> float:
        policy = TaskPolicy(temperature=temperature, thresholds={"flag": 0.5})
        return abs(decide_task(np.asarray([logit]), task, policy, BOTH).scores["yes"] - 0.5)

    assert certainty(hotter) <= certainty(colder) + 1e-12


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = read_bundle(write_synthetic_bundle(tmp_path_factory.mktemp("bundle")))
    return bundle.directory / "tokenizer.json"


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    title=st.text(max_size=400),
    overlay=st.text(max_size=400),
    budgets=st.tuples(st.integers(1, 20), st.integers(1, 20)),
)
@example(title="[SEP] [CLS] [PAD]", overlay="\x00" * 300, budgets=(3, 1))
@example(title="\ud800", overlay="", budgets=(1, 1))
def test_text_never_exceeds_its_budget(
    tokenizer_file: Path, title: str, overlay: str, budgets: tuple[int, int]
) -> None:
    fields = tuple(TextField(name=n, max_tokens=b) for n, b in zip(("title", "overlay_text"), budgets, strict=True))
    spec = SPEC.model_copy(update={"text_fields": fields})
    tokenizer = TextTokenizer(tokenizer_file, spec)
    try:
        read = tokenizer.encode({"title": title, "overlay_text": overlay})
    except InvalidText:
        assert any("\ud800" <= c <= "\udfff" for c in title + overlay)
        return
    ids = read.input_ids.tolist()
    assert 3 <= len(ids) <= spec.max_text_tokens
    assert ids[0] == tokenizer.cls_id
    assert ids.count(tokenizer.sep_id) == 2
    first = ids.index(tokenizer.sep_id)
    assert (first - 1 <= budgets[0], len(ids) - first - 2 <= budgets[1]) == (True, True)
    assert read.present == (len(ids) > 3)


SPECS = st.builds(
    InputSpec,
    frames=st.integers(1, 64),
    frame_size=st.integers(16, 512),
    sampling=SAMPLINGS,
    interpolation=st.sampled_from(["bicubic", "bilinear", "area"]),
    text_cleaning=st.sampled_from(["none", "xvlm"]),
    text_fields=st.lists(
        st.builds(
            TextField, name=st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), max_tokens=st.integers(1, 512)
        ),
        min_size=1,
        max_size=3,
        unique_by=lambda field: field.name,
    ).map(tuple),
)


@given(one=SPECS, other=SPECS)
def test_digests_differ_exactly_where_the_documents_do(one: InputSpec, other: InputSpec) -> None:
    assert (one.digest() == other.digest()) == (one == other)
    assert InputSpec.model_validate_json(one.model_dump_json()).digest() == one.digest()
