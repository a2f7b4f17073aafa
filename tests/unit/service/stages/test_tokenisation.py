"""Tokenisation: an arm reads the fields that its model knows, and says which it left unread."""

from __future__ import annotations

from pathlib import Path

import pytest

from contract.bundle import Bundle, read_bundle
from contract.errors import InvalidText
from service.stages.tokenisation import tokenise
from tests.synthetic_bundle import SPEC, write_synthetic_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Of a model that reads titles alone."""
    title = SPEC.model_copy(update={"text_fields": SPEC.text_fields[:1]})
    home: Path = tmp_path_factory.mktemp("tokenisation")
    return read_bundle(write_synthetic_bundle(home / "bundle", input_spec=title))


def test_fields_that_the_model_knows_are_read_and_none_is_left(bundle: Bundle) -> None:
    ids, unread = tokenise({"title": "a fight in the park"}, bundle)
    assert ids.input_ids.tolist() == bundle.tokenizer.encode({"title": "a fight in the park"}).input_ids.tolist()
    assert unread == ()


def test_a_field_that_the_model_lacks_changes_nothing_and_is_named(bundle: Bundle) -> None:
    alone, _ = tokenise({"title": "a fight"}, bundle)
    beside, unread = tokenise({"title": "a fight", "overlay_text": "you won"}, bundle)
    assert beside.input_ids.tolist() == alone.input_ids.tolist()
    assert unread == ("overlay_text",)


@pytest.mark.parametrize("blank", ["", "  \n"])
def test_a_field_that_holds_nothing_is_not_missed(bundle: Bundle, blank: str) -> None:
    ids, unread = tokenise({"overlay_text": blank}, bundle)
    assert unread == ()
    assert not ids.present


def test_text_that_is_no_unicode_is_refused(bundle: Bundle) -> None:
    with pytest.raises(InvalidText):
        tokenise({"title": "a \ud800"}, bundle)
