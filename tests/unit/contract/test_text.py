"""Text -> ids: budgets, fields, and what people (and attackers) type."""

from __future__ import annotations

import threading
import time
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from contract.errors import InvalidText
from contract.input_spec import InputSpec, TextField
from contract.text import TextTokenizer, clean

WORDS = ("a", "fight", "in", "the", "park", "n", "##o", "cafe", "won", "t")
SPEC = InputSpec(
    frames=1,
    frame_size=16,
    text_fields=(TextField(name="title", max_tokens=6), TextField(name="overlay_text", max_tokens=4)),
)


def write_tokenizer(path: Path, *, special: bool = False, leave_out: str = "") -> Path:
    tokens = [t for t in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") if t != leave_out]
    tokenizer = Tokenizer(models.WordPiece({t: i for i, t in enumerate((*tokens, *WORDS))}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if special:
        tokenizer.add_special_tokens(["[CLS]", "[SEP]"])
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    return TextTokenizer(write_tokenizer(tmp_path_factory.mktemp("text") / "tokenizer.json"), SPEC)


def ids_of(tokenizer: TextTokenizer, *words: str) -> list[int]:
    vocab = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3} | {w: 4 + i for i, w in enumerate(WORDS)}
    return [vocab[w] for w in words]


def test_fields_stand_in_the_specs_order_whatever_the_callers(tokenizer: TextTokenizer) -> None:
    read = tokenizer.encode({"overlay_text": "the park", "title": "a fight"})
    assert read.input_ids.tolist() == ids_of(tokenizer, "[CLS]", "a", "fight", "[SEP]", "the", "park", "[SEP]")
    assert read.attention_mask.tolist() == [1] * 7
    assert (read.present, read.truncated_fields) == (True, ())


@pytest.mark.parametrize("blank", [None, "", " \t\n", "\x00\x07", "\u3000"])
def test_absent_and_blank_are_the_same(tokenizer: TextTokenizer, blank: str | None) -> None:
    read = tokenizer.encode({"title": blank})
    assert read.input_ids.tolist() == tokenizer.encode({}).input_ids.tolist()
    assert not read.present


def test_each_field_has_its_own_budget_and_truncation_is_said(tokenizer: TextTokenizer) -> None:
    read = tokenizer.encode({"title": "a " * 7, "overlay_text": "the the the the"})
    assert read.input_ids.tolist() == ids_of(tokenizer, "[CLS]", *"aaaaaa", "[SEP]", *["the"] * 4, "[SEP]")
    assert read.truncated_fields == ("title",)


def test_surrounding_blanks_neither_hide_text_nor_count_as_cut(tokenizer: TextTokenizer) -> None:
    read = tokenizer.encode({"title": " " * 100_000 + "a fight" + " " * 100_000})
    assert read.input_ids.tolist() == tokenizer.encode({"title": "a fight"}).input_ids.tolist()
    assert (read.present, read.truncated_fields) == (True, ())


def test_a_megabyte_is_read_fast_and_said_to_be_cut(tokenizer: TextTokenizer) -> None:
    began = time.process_time()
    read = tokenizer.encode({"title": "a fight in the park \U0001f642 " * 40_000, "overlay_text": "x" * 1_000_000})
    assert time.process_time() - began < 0.5
    assert read.truncated_fields == ("title", "overlay_text")
    assert len(read.input_ids) <= SPEC.max_text_tokens


def test_special_tokens_in_a_title_are_text(tmp_path: Path) -> None:
    made = TextTokenizer(write_tokenizer(tmp_path / "tokenizer.json", special=True), SPEC)
    read = made.encode({"title": "a [SEP] fight"})
    assert read.input_ids.tolist().count(made.sep_id) == 2
    assert read.input_ids.tolist().count(made.cls_id) == 1


def test_an_unknown_field_is_refused_without_repeating_it(tokenizer: TextTokenizer) -> None:
    with pytest.raises(InvalidText, match="title") as refused:
        tokenizer.encode({"titel-secret": "x"})
    assert "secret" not in refused.value.detail


@pytest.mark.parametrize("text", ["\ud800", "fine \udfff", "a" * 5000 + "\ud83d"])
def test_lone_surrogates_are_refused(tokenizer: TextTokenizer, text: str) -> None:
    with pytest.raises(InvalidText, match="title") as refused:
        tokenizer.encode({"title": text})
    assert refused.value.code == "invalid_text"


def test_emoji_and_foreign_scripts_are_present_even_if_unknown(tokenizer: TextTokenizer) -> None:
    read = tokenizer.encode({"title": "\U0001f469\u200d\U0001f692 \u0441\u043b\u043e\u0432\u043e"})
    assert read.present
    assert 1 in read.input_ids.tolist()


@pytest.mark.parametrize(
    ("text", "cleaning", "cleaned"),
    [
        ("a\x00fight\x1b[0m", "none", "a fight [0m"),
        ("cafe\u0301", "none", "caf\u00e9"),
        ("  a \n\t fight ", "none", "a fight"),
        ("A Fight, in-the/Park!?", "xvlm", "a fight in the park"),
        ("A Fight!", "none", "A Fight!"),
    ],
)
def test_cleaning(text: str, cleaning: str, cleaned: str) -> None:
    assert clean(text, cleaning) == cleaned


@pytest.mark.parametrize("mark", ["\u0301", "\u0316\u0301", "\u0f73"])
def test_marks_beyond_all_writing_are_left_out_before_they_are_sorted(mark: str) -> None:
    """NFC sorts a run of marks in the square of its length: 9,000 of them cost a tenth of a second."""
    for count in (31, 9000):
        cleaned = clean("e" + mark * count + "nd", "none")
        assert len(cleaned) <= len("e") + 2 * 30 + len("nd")
        assert cleaned.endswith("nd")
    assert clean(mark * 9000, "none") == clean(mark * 9000 * 2, "none")


@pytest.mark.parametrize("cleaning", ["none", "xvlm"])
def test_thirty_marks_are_read_as_before(cleaning: str) -> None:
    for text in (
        "e" + "\u0316\u0301" * 15,
        "\u0301" * 30 + "e" + "\u0316" * 30,
        "\u0b95\u0bcb\u0bb5\u0bbf\u0bb2\u0bcd \u1112\u1161\u11ab",
        "\u202b\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd",
        "e" + "\u0f73" * 15,
    ):
        normal = unicodedata.normalize("NFC", text)
        assert clean(text, "none") == " ".join(normal.split())
        assert clean(text, cleaning) == clean(normal, cleaning)


TEXTS = st.text(st.sampled_from("a fight in thepark.!-/\u0301\u6226\u00e9\U0001f642\u200b\t[]#"), max_size=400)


@given(TEXTS, st.integers(1, 60))
def test_a_long_text_is_read_from_its_beginning_as_if_it_were_read_whole(
    tokenizer: TextTokenizer, text: str, times: int
) -> None:
    text = (text * times)[:1200]
    whole = tokenizer._tokenizer.encode(clean(text, "none"), add_special_tokens=False).ids
    read = tokenizer.encode({"title": text})
    assert read.input_ids.tolist()[1:-2] == whole[:6]
    assert read.truncated_fields == (("title",) if len(whole) > 6 else ())


@pytest.mark.parametrize("missing", ["[CLS]", "[SEP]", "[PAD]"])
def test_a_tokenizer_without_its_special_tokens_is_refused(tmp_path: Path, missing: str) -> None:
    with pytest.raises(ValueError, match=missing.strip("[]")):
        TextTokenizer(write_tokenizer(tmp_path / "t.json", leave_out=missing), SPEC)


def test_a_tokenizers_own_truncation_and_padding_are_not_ours(tokenizer: TextTokenizer, tmp_path: Path) -> None:
    path = write_tokenizer(tmp_path / "tokenizer.json")
    saved = Tokenizer.from_file(str(path))
    saved.enable_truncation(2)
    saved.save(str(tmp_path / "cuts.json"))
    saved.no_truncation()
    saved.enable_padding(length=5)
    saved.save(str(tmp_path / "pads.json"))
    text = {"title": "a fight in"}
    expected = tokenizer.encode(text).input_ids.tolist()
    for name in ("cuts.json", "pads.json"):
        read = TextTokenizer(tmp_path / name, SPEC).encode(text)
        assert (read.input_ids.tolist(), read.truncated_fields) == (expected, ())


def test_a_file_that_is_no_tokenizer_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("{}")
    with pytest.raises(ValueError, match=r"t\.json"):
        TextTokenizer(tmp_path / "t.json", SPEC)


def test_threads_share_one_tokenizer(tokenizer: TextTokenizer) -> None:
    texts = [" ".join(WORDS[i % 5] for i in range(k)) for k in range(1, 6)]
    expected = [tokenizer.encode({"title": t}).input_ids.tolist() for t in texts]
    wrong: list[str] = []

    def work() -> None:
        for _ in range(100):
            for text, ids in zip(texts, expected, strict=True):
                if tokenizer.encode({"title": text}).input_ids.tolist() != ids:
                    wrong.append(text)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
