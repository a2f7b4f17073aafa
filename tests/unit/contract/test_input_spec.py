"""The document that says what a model reads: its digest, its limits, its strictness."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from contract.input_spec import InputSpec, TextField


def test_the_digest_of_the_default_is_pinned_because_bundles_and_caches_name_it() -> None:
    assert InputSpec().digest() == "aabb78b1096e69863731b6c29566d3746121e43fadb4a08affea5322b64d4748"


def test_the_digest_does_not_depend_on_how_the_document_was_written() -> None:
    spec = InputSpec(frames=4, text_fields=(TextField(name="title", max_tokens=7),))
    again = InputSpec.model_validate_json(spec.model_dump_json())
    assert again == spec
    assert again.digest() == spec.digest()


@pytest.mark.parametrize(
    "change",
    [
        {"frames": 9},
        {"frame_size": 128},
        {"sampling": "segment_first"},
        {"interpolation": "area"},
        {"text_cleaning": "xvlm"},
        {"text_fields": (TextField(name="overlay_text", max_tokens=48), TextField(name="title", max_tokens=48))},
        {"text_fields": (TextField(name="title", max_tokens=47), TextField(name="overlay_text", max_tokens=48))},
    ],
)
def test_the_digest_changes_with_every_field(change: dict[str, object]) -> None:
    assert InputSpec(**change).digest() != InputSpec().digest()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "bad",
    [
        {"frames": 0},
        {"frames": 65},
        {"frame_size": 8},
        {"frame_size": 1024},
        {"sampling": "random"},
        {"interpolation": "nearest"},
        {"version": 2},
        {"text_fields": ()},
        {"text_fields": ({"name": "title", "max_tokens": 4}, {"name": "title", "max_tokens": 5})},
        {"text_fields": ({"name": "Title", "max_tokens": 4},)},
        {"text_fields": ({"name": "title", "max_tokens": 0},)},
        {"frame_sise": 112},
    ],
)
def test_what_no_model_can_read_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        InputSpec.model_validate(bad)


def test_it_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValidationError):
        InputSpec().frames = 3  # type: ignore[misc]


def test_shapes_and_budgets_follow_from_it() -> None:
    spec = InputSpec(frames=4, frame_size=32, text_fields=(TextField(name="title", max_tokens=7),))
    assert spec.frames_shape == (4, 32, 32, 3)
    assert spec.max_text_tokens == 1 + 7 + 1
