"""Generated corpora hold what their manifest says; a directory of one's own is taken as it is."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import pytest

from loadtest.traffic.clips import available_codecs
from loadtest.traffic.corpus import MANIFEST, Corpus, CorpusError, Expect, Recipe, build_corpus, load_corpus, media_type
from tests.unit.loadtest.conftest import TINY


def test_the_clips_are_what_the_manifest_says(corpus: Corpus) -> None:
    assert {clip.codec for clip in corpus.good} == set(available_codecs())
    assert len(available_codecs()) >= 3
    for clip in corpus.good:
        with av.open(str(corpus.directory / clip.file)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name.replace("libdav1d", "av1"), stream.width) == (clip.codec, clip.width)
            assert sum(1 for _ in container.decode(stream)) == round(25 * clip.seconds)


def test_the_hostile_clips_have_no_picture_to_decode(corpus: Corpus) -> None:
    assert len(corpus.hostile) == 3
    for clip in corpus.hostile:
        pictures = 0
        try:
            with av.open(str(corpus.directory / clip.file)) as container:
                pictures = sum(1 for _ in container.decode(video=0)) if container.streams.video else 0
        except av.FFmpegError:
            pass
        assert pictures == 0, clip.file


def test_a_corpus_is_built_once(corpus: Corpus) -> None:
    before = (corpus.directory / MANIFEST).stat().st_mtime_ns
    assert build_corpus(corpus.directory, TINY) == corpus.directory
    assert (corpus.directory / MANIFEST).stat().st_mtime_ns == before
    with pytest.raises(CorpusError, match="something else"):
        build_corpus(corpus.directory, Recipe(sizes=((64, 64),)))


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    assert load_corpus(build_corpus(tmp_path, Recipe(sizes=((64, 48),), seconds=(0.2,)))).good


def test_processes_that_build_the_same_corpus_at_once_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as builders:
        made = list(builders.map(lambda _: build_corpus(tmp_path / "corpus", TINY), range(4)))
    assert set(made) == {tmp_path / "corpus"}
    assert load_corpus(tmp_path / "corpus").good
    assert [entry.name for entry in tmp_path.iterdir()] == ["corpus"]


def test_a_directory_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.MP4").write_bytes(b"clip")
    (tmp_path / "notes.txt").write_text("not a clip")
    found = load_corpus(tmp_path)
    (clip,) = found.good
    assert (clip.file, clip.expect, found.read(clip), media_type(clip)) == (
        "mine.MP4",
        Expect.EITHER,
        b"clip",
        "video/mp4",
    )


@pytest.mark.parametrize(
    "manifest",
    ['{"clips": []}', "nonsense", '{"clips": [{"file": "../x", "codec": "a"}]}', '{"clips": [], "typo": 1}'],
)
def test_a_manifest_that_is_none(tmp_path: Path, manifest: str) -> None:
    (tmp_path / MANIFEST).write_text(manifest)
    with pytest.raises(CorpusError, match="manifest"):
        load_corpus(tmp_path)


def test_what_is_no_corpus(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="neither"):
        load_corpus(tmp_path)
    clip = {"codec": "h264", "seconds": 1, "width": 2, "height": 2}
    line = json.dumps({"file": "gone.mp4", "expect": "verdict"} | clip)
    (tmp_path / MANIFEST).write_text(f'{{"clips": [{line}]}}')
    with pytest.raises(CorpusError, match=r"gone\.mp4"):
        load_corpus(tmp_path)
