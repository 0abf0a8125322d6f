"""Frames of real videos: the same as from decoding everything, and errors that name the file."""

from __future__ import annotations

import itertools
import struct
from contextlib import contextmanager

import av
import numpy as np
import pytest
from videos import SIZE, coded, every_frame, index_of, write_video

import script_exp.benchmarks.reading.frames as module
from script_exp.benchmarks.reading.frame_count import PerSecond
from script_exp.benchmarks.reading.frames import Choice, Clip, announced, spread, video_frames
from script_exp.errors import DataError, UserError

KINDS = {  # name: how it is written, and whether the packets alone say which frames are shown
    "one_keyframe.mp4": ({}, True),
    "keyframes.mp4": ({"keyframes": 4}, True),
    "b_frames.mp4": ({"keyframes": 10, "bf": 3}, True),
    "h264.mkv": ({"keyframes": 8}, True),
    "hevc.mp4": ({"codec": "libx265", "keyframes": 9, "x265-params": "log-level=none"}, True),
    "vp9.webm": ({"codec": "libvpx-vp9", "keyframes": 7}, True),
    "mpeg4.avi": ({"codec": "mpeg4", "keyframes": 6}, True),
    "mpeg4_b.avi": ({"codec": "mpeg4", "bf": 2}, True),
    "vp8.webm": ({"codec": "libvpx", "auto-alt-ref": 1, "lag-in-frames": 10}, False),
}


def indices(path, count, clip=None):
    return [index_of(frame) for frame in video_frames(path.parent, path.name, "here", count, clip)()]


@pytest.mark.parametrize("count", [1, 7, 40])
@pytest.mark.parametrize("name", KINDS)
def test_the_frames_are_those_of_decoding_everything(tmp_path, monkeypatch, name, count):
    settings, seeks = KINDS[name]
    path = write_video(tmp_path / name, frames=40, **settings)
    every = every_frame(path)
    assert every == list(range(40))
    wanted = [every[place] for place in np.linspace(0, 39, count, dtype=int)]
    decoded_all = []
    monkeypatch.setattr(
        module, "_decode_all", lambda *a, whole=module._decode_all: decoded_all.append(a) or whole(*a)
    )
    assert indices(path, count) == wanted
    assert bool(decoded_all) != seeks
    assert announced(path) == (40, 6.0)
    rate = video_frames(path.parent, path.name, "here", count)().rate
    assert rate == pytest.approx(count * 6 / 40, rel=1e-2)  # webm has times in milliseconds


class Counting:
    """A container that counts the frames that are decoded."""

    def __init__(self, container, counts):
        self.container, self.counts = container, counts

    def __getattr__(self, name):
        return getattr(self.container, name)

    def decode(self, stream):
        for frame in self.container.decode(stream):
            self.counts.append(frame.pts)
            yield frame


def test_only_what_is_needed_is_decoded(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", frames=120, keyframes=10, sc_threshold=0)
    opened, decoded = module._opened, []

    @contextmanager
    def counted(path):
        with opened(path) as (container, stream):
            yield Counting(container, decoded), stream

    monkeypatch.setattr(module, "_opened", counted)
    assert indices(path, 3) == [0, 59, 119]
    assert len(decoded) == 1 + 10 + 10  # from the keyframes 0, 50 and 110


def test_a_video_with_few_frames_repeats_them(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=3)
    assert indices(path, 8) == [0, 0, 0, 0, 1, 1, 1, 2]


def test_uneven_times_and_clips(tmp_path):
    # 12 frames: the first eight within one second, the others a second apart.
    times = [75 * place for place in range(8)] + [600 * second for second in (2, 3, 4, 5)]
    path = write_video(tmp_path / "uneven.mp4", times=times, rate=600)
    assert every_frame(path) == list(range(12))
    assert indices(path, 12) == list(range(12))
    assert indices(path, 3, Clip(2.0, 4.0)) == [8, 9, 10]
    assert indices(path, 2, Clip(0.5, 1.6)) == [4, 8]  # 1.6 s is nearer to 2 s than to 0.875 s
    assert indices(path, 2, Clip(4.9, 99.0)) == [11, 11]  # beyond the end: the last frame


def test_where_frames_are_taken():
    seconds = np.arange(100) / 25
    assert spread(seconds, 5).places == [0, 24, 49, 74, 99]
    assert spread(seconds, 5).rate == pytest.approx(5 / 4)  # of four seconds
    assert spread(seconds, 3, Clip(1.0, 2.0)).places == [25, 37, 50]
    assert spread(seconds, 3, Clip(1.0, 2.0)).rate == pytest.approx(3 / 1.04)
    assert spread(seconds, 1).places == [0]
    assert spread(seconds[:1], 2) == Choice([0, 0], None)


@pytest.mark.parametrize(
    ("shown", "seconds", "number"),
    [
        (250, 10.0, 20),  # two a second
        (250, 10.9, 20),  # an even number of them
        (25, 1.0, 4),  # no fewer than four
        (3, 0.1, 2),  # but no more than there are
        (1, 0.0, 1),  # and at least one
        (90_000, 3600.0, 768),
    ],
)
def test_frames_by_the_clock(shown, seconds, number):
    """qwen-vl-utils: FPS 2, FPS_MIN_FRAMES 4, FPS_MAX_FRAMES 768, FRAME_FACTOR 2."""
    assert PerSecond(fps=2.0, min_frames=4, max_frames=768, multiple=2).count(shown, seconds) == number


def test_the_fewest_frames_are_rounded_up():
    assert PerSecond(fps=1.0, min_frames=5, max_frames=768, multiple=2).count(100, 1.0) == 6


@pytest.mark.parametrize("rate", [24, 25, 30, 60])
def test_time_stamps_that_are_no_round_numbers_cost_no_frame(rate):
    """Ticks of 1 / 90,000 s or 1 / 1,000 s over the rate, as containers have them."""
    for base, length in itertools.product((90_000, 1_000 * rate, 1_000), range(2, 60)):
        ticks = np.round(np.arange(rate * length) * base / rate)
        chosen = spread(ticks / base, PerSecond(fps=2.0, min_frames=4, max_frames=768, multiple=2))
        assert len(chosen.places) == max(4, 2 * length)


def test_frames_by_the_clock_of_a_real_video(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=120, rate=24)
    assert len(indices(path, PerSecond(fps=2.0))) == 10


def test_frames_by_the_clock_are_of_the_part_that_is_meant():
    seconds = np.arange(100) / 25
    assert spread(seconds, PerSecond(fps=2)).places == spread(seconds, 8).places
    assert spread(seconds, PerSecond(fps=3), Clip(1.0, 2.0)) == spread(seconds, 3, Clip(1.0, 2.0))


@pytest.mark.parametrize(
    ("matrix", "turn"),
    [((0, 1, -1, 0), -90), ((-1, 0, 0, -1), 180), ((0, -1, 1, 0), 90)],  # turn: counterclockwise
)
def test_a_video_that_was_recorded_sideways(tmp_path, matrix, turn):
    path = write_video(tmp_path / "a.mp4")
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44  # the track's matrix, in 1/65536 (ISO 14496-12, 8.3.2)
    a, b, c, d = (part << 16 for part in matrix)
    data[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    frames = video_frames(tmp_path, "a.mp4", "here", 12)()
    assert frames[0].size == (SIZE if turn == 180 else SIZE[::-1])
    assert [index_of(frame.rotate(-turn, expand=True)) for frame in frames] == list(range(12))


def test_a_folder_of_pictures(tmp_path):
    folder = tmp_path / "clip_01"
    folder.mkdir()
    for number in range(1, 13):  # unpadded: 10.jpg comes after 9.jpg
        coded(number).save(folder / f"{number}.jpg")
    (folder / "notes.txt").write_text("not a frame")
    assert indices(folder, 12) == list(range(1, 13))
    assert indices(folder, 4) == [1, 4, 8, 12]
    assert indices(folder, 3, Clip(1.0, 3.0)) == [3, 6, 9]  # three a second, the first one at 1/3 s
    assert indices(folder, 2, Clip(3.4, 50.0)) == [10, 12]
    (folder / "3.jpg").write_bytes(b"\xff\xd8 not")
    with pytest.raises(DataError, match=r"clip_01/3.jpg does not decode"):
        indices(folder, 12)


def test_a_folder_without_pictures(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"the folder of frames .*empty has no .jpg, .jpeg, .png"):
        indices(tmp_path / "empty", 2)


def write_sound(path):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, 1024), dtype=np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_files_that_are_no_videos(tmp_path):
    with pytest.raises(DataError, match=r"the video .*gone.mp4 is missing"):
        indices(tmp_path / "gone.mp4", 2)
    (tmp_path / "text.mp4").write_text("not a video")
    with pytest.raises(DataError, match=r"the video .*text.mp4 does not decode"):
        indices(tmp_path / "text.mp4", 2)
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(DataError, match=r"empty.mp4 does not decode"):
        indices(tmp_path / "empty.mp4", 2)
    write_sound(tmp_path / "sound.m4a")
    with pytest.raises(DataError, match=r"sound.m4a does not decode \(it has no video stream\)"):
        indices(tmp_path / "sound.m4a", 2)
    with pytest.raises(UserError, match=r"here: '../x.mp4' leads out of"):
        video_frames(tmp_path, "../x.mp4", "here", 2)
    for name in ("gone.mp4", "text.mp4", "sound.m4a"):
        with pytest.raises(DataError, match=name):
            announced(tmp_path / name)


@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_video_that_is_cut_off(tmp_path, share):
    """With the header in front, as videos from the web have it, the file still opens."""
    path = write_video(tmp_path / "a.mp4", frames=60, keyframes=5, header_in_front=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DataError, match=r"a.mp4 does not decode"):
        indices(path, 8)


def test_a_video_with_damage_inside(tmp_path):
    path = write_video(tmp_path / "a.mp4", frames=60, keyframes=60)
    with av.open(str(path)) as container:
        place = next(packet.pos for packet in container.demux(video=0) if packet.size)
    data = bytearray(path.read_bytes())
    data[place : place + 400] = b"\xff" * 400
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a.mp4 does not decode"):
        indices(path, 8)
