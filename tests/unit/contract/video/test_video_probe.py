"""What the container says, believed only as far as the file bears it out."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from contract.errors import CorruptMedia, NoVideoStream, TruncatedMedia, UnsupportedMedia, VideoTooLong
from contract.video import DecodeLimits, probe
from contract.video.envelope import missing_share
from contract.video.probe import open_container
from tests.unit.contract.clips import (
    HEIGHT,
    WIDTH,
    cut,
    edit_box,
    raw_h264,
    wrapped_h264,
    write_damaged_ts,
    write_encrypted_matroska,
    write_numbered,
    write_song_with_cover,
)

LIMITS = DecodeLimits()


def test_size_times_and_end_of_a_plain_clip(tmp_path: Path) -> None:
    found = probe(write_numbered(tmp_path / "a.mp4", 30), LIMITS)
    assert (found.codec, found.width, found.height, found.packets, found.indexed) == ("h264", 128, 64, 30, True)
    assert found.times_s == pytest.approx([0.04 * i for i in range(30)])
    assert found.end_s == pytest.approx(1.2)


def test_uneven_times_are_read_as_they_are(tmp_path: Path) -> None:
    times = [0, 40, 400, 410, 2000]
    found = probe(write_numbered(tmp_path / "a.mkv", 5, times_ms=times, b_frames=0), LIMITS)
    assert found.times_s == pytest.approx([t / 1000 for t in times])


def test_an_edit_list_that_shows_a_part_is_no_truncation(tmp_path: Path) -> None:
    clip = write_numbered(tmp_path / "a.mp4", 60)

    def shorter(body: bytes) -> bytes:
        return body[:8] + struct.pack(">I", struct.unpack(">I", body[8:12])[0] // 3) + body[12:]

    found = probe(edit_box(clip, b"elst", shorter), LIMITS)
    assert len(found.times_s) == 20
    assert found.end_s == pytest.approx(0.8)


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".avi", ".mp4"])
def test_the_whole_file_misses_nothing(tmp_path: Path, suffix: str) -> None:
    codec = {".webm": "libvpx-vp9", ".avi": "mpeg4"}.get(suffix, "libx264")
    first = {"movflags": "faststart"} if suffix == ".mp4" else {}
    clip = write_numbered(tmp_path / f"a{suffix}", 12, codec=codec, b_frames=0, container_options=first)
    assert missing_share(clip) == 0.0
    assert missing_share(cut(clip, 0.6)) == pytest.approx(0.4, abs=0.02)


def test_a_cut_matroska_is_told_by_its_declared_bytes(tmp_path: Path) -> None:
    clip = write_numbered(tmp_path / "a.mkv", 60, b_frames=0)
    with pytest.raises(TruncatedMedia):
        probe(cut(clip, 0.8), LIMITS)


def test_a_cut_within_the_tolerance_is_read(tmp_path: Path) -> None:
    clip = write_numbered(tmp_path / "a.mkv", 60, b_frames=0)
    assert probe(cut(clip, 0.97), LIMITS).packets >= 54


@pytest.mark.parametrize(
    "head",
    [
        b"\0\0\0\1ftyp" + b"\xff" * 8,
        b"\0\0\0\0ftyp",
        b"RIFF\0\0\0\0AVI ",
        b"RIFF\xff\xff\xff\xffAVI ",
        b"\x1aE\xdf\xa3",
        b"\x1aE\xdf\xa3\x80\x18\x53\x80\x67\xff",
        b"\x1aE\xdf\xa3\x80\x18\x53\x80\x67\x01",
        b"",
    ],
)
def test_an_envelope_that_says_nothing_usable_is_not_held_against_the_file(tmp_path: Path, head: bytes) -> None:
    path = tmp_path / "head"
    path.write_bytes(head)
    assert 0.0 <= missing_share(path) <= 1.0
    if not head.startswith(b"\0\0\0\1"):
        assert missing_share(path) == 0.0


def test_an_encrypted_clip_is_named_as_such(tmp_path: Path) -> None:
    keys = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": "0" * 32, "encryption_kid": "1" * 32}
    clip = write_numbered(tmp_path / "a.mp4", 12, container_options=keys)
    with pytest.raises(UnsupportedMedia, match="encrypted"):
        probe(clip, LIMITS)


def test_a_matroska_track_with_a_key_is_named_as_encrypted(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedMedia, match="encrypted"):
        probe(write_encrypted_matroska(tmp_path / "a.mkv"), LIMITS)


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    song = write_song_with_cover(tmp_path / "a.mp4")
    with open_container(song) as container:
        assert [stream.codec_context.name for stream in container.streams.video] == ["mjpeg"]
    with pytest.raises(NoVideoStream):
        probe(song, LIMITS)


def test_a_container_is_closed_when_its_reader_is_done(tmp_path: Path) -> None:
    with open_container(write_numbered(tmp_path / "a.mp4", 3)) as container:
        assert container.streams.video[0].frames == 3
    with pytest.raises(AssertionError, match="not open"):
        list(container.demux())


def test_a_damaged_packet_in_mid_stream_keeps_its_place(tmp_path: Path) -> None:
    whole = probe(write_numbered(tmp_path / "a.ts", 30, gop=1, b_frames=0, codec="mpeg2video"), LIMITS)
    found = probe(write_damaged_ts(tmp_path / "b.ts", damaged=10), LIMITS)
    assert found.packets == whole.packets == 30
    assert found.times_s == pytest.approx(whole.times_s)


def test_a_damaged_packet_at_the_start_is_left_out(tmp_path: Path) -> None:
    # FFmpeg marks the packet that it was gathering when it met the gap: here the first.
    found = probe(write_damaged_ts(tmp_path / "a.ts", damaged=1), LIMITS)
    assert (found.packets, found.times_s[0]) == (29, 0.0)


@pytest.mark.parametrize("last_ms", [40, 500])
def test_a_clip_lasts_until_its_last_picture_was_shown(tmp_path: Path, last_ms: int) -> None:
    clip = wrapped_h264(tmp_path / "a.mp4", raw_h264(10, (WIDTH, HEIGHT)), last_ms=last_ms)
    assert probe(clip, LIMITS).end_s == pytest.approx((9 * 40 + last_ms) / 1000)


def test_an_index_that_names_the_same_bytes_again_and_again_is_refused(tmp_path: Path) -> None:
    clip = write_numbered(tmp_path / "a.mp4", 60, b_frames=0, gop=60, size=(1280, 720))
    data = clip.read_bytes()
    length = struct.unpack(">I", data[data.index(b"mdat") - 4 : data.index(b"mdat")])[0] - 8
    edit_box(clip, b"stsz", lambda body: body[:4] + struct.pack(">I", length) + body[8:])
    # One sample a chunk, every chunk at the same place: the sizes' table, now unread, becomes the chunks' one.
    where = struct.pack(">I", data.index(b"mdat") + 4)
    edit_box(clip, b"stsc", lambda body: body[:4] + struct.pack(">IIII", 1, 1, 1, 1) + body[20:])
    raw = clip.read_bytes()
    stco = struct.pack(">I", 16 + 4 * 60) + b"stco" + bytes(4) + struct.pack(">I", 60) + where * 60
    old = raw.index(b"stco") - 4
    old_length = struct.unpack(">I", raw[old : old + 4])[0]
    clip.write_bytes(_grown(raw[:old] + stco + raw[old + old_length :], len(stco) - old_length))
    with clip.open("ab") as file:  # the demuxer needs the bytes to be there; the declared ones are 60 times the file's
        file.write(struct.pack(">I", 1 << 17) + b"free" + bytes((1 << 17) - 8))
    with pytest.raises(CorruptMedia, match="again and again"):
        probe(clip, LIMITS)


def _grown(data: bytes, by: int) -> bytes:
    """The MP4 with ``by`` bytes more in its index: every box around the chunk table says so."""
    out = bytearray(data)
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        at = out.index(kind) - 4
        out[at : at + 4] = struct.pack(">I", struct.unpack(">I", out[at : at + 4])[0] + by)
    return bytes(out)


def test_packets_are_counted_against_the_limit(tmp_path: Path) -> None:
    clip = write_numbered(tmp_path / "a.mp4", 30)
    assert probe(clip, DecodeLimits(max_packets=30)).packets == 30
    with pytest.raises(VideoTooLong):
        probe(clip, DecodeLimits(max_packets=29))


def test_a_gap_before_the_last_picture_counts_as_length(tmp_path: Path) -> None:
    clip = write_numbered(tmp_path / "a.mp4", 3, times_ms=[0, 40, 3_000_000], b_frames=0)
    with pytest.raises(VideoTooLong):
        probe(clip, LIMITS)
