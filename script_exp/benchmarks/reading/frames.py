"""Load evenly spaced frames of a video or of a folder of pictures, without decoding more than needed.

The frames are those of lmms-eval: ``linspace(first, last, number)`` over the frames that the video shows,
truncated to whole numbers. A video with fewer frames than requested repeats some of them, so that every video
of a benchmark has the same number.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from script_exp.benchmarks.reading.data import within
from script_exp.benchmarks.reading.frame_count import FrameCount, Frames, frames_to_take
from script_exp.benchmarks.reading.images import check_is_file, open_image
from script_exp.errors import DataError

_NOT_A_VIDEO = (av.FFmpegError, OSError, ValueError)
_PICTURES = (".jpg", ".jpeg", ".png")
# Codecs whose packets are one shown frame each; other codecs (VP8) may have packets that show nothing.
_FRAME_A_PACKET = ("h264", "hevc", "mpeg4", "vp9", "av1")


@dataclass(frozen=True)
class Clip:
    """Part of a video.

    Attributes:
        start: second of its first frame.
        end: second of its last frame; a value beyond the end of the video means its last frame.
    """

    start: float
    end: float


def video_frames(
    folder: Path,
    relative: str,
    place: str,
    count: FrameCount,
    clip: Clip | None = None,
    rate: float = 3.0,
) -> Callable[[], Frames]:
    """Return a loader of RGB frames; a missing or broken video is a :class:`DataError`.

    Args:
        folder: the folder that has to contain the video.
        relative: path of the video, or of a folder of pictures, in ``folder``.
        place: file and line or row that names it.
        count: how many frames to load, evenly spaced.
        clip: the part of the video to take them from; None for all of it.
        rate: pictures per second in a folder; the first one is at 1 / ``rate``.

    Raises:
        UserError: if the path leads out of the folder.
    """
    return partial(_load, within(folder, relative, place), count, clip, rate)


def announced(path: Path) -> tuple[int, float]:
    """Return the number of frames and the frames per second in the video's header, without reading further.

    Raises:
        DataError: if it is missing or not a video.
    """
    try:
        with _opened(path) as (container, stream):
            rate = float(stream.average_rate or 0)
            seconds = (container.duration or 0) / av.time_base
            return stream.frames or int(seconds * rate), rate
    except _NOT_A_VIDEO as error:
        raise DataError(f"the video {path} does not decode ({error})") from error


@dataclass(frozen=True)
class Choice:
    """Which frames to take.

    Attributes:
        places: indices of the frames among all.
        rate: frames taken per second; None for a single picture.
    """

    places: list[int]
    rate: float | None


def spread(seconds: np.ndarray, count: FrameCount, clip: Clip | None = None) -> Choice:
    """Choose evenly spaced frames among those shown at ``seconds``, ascending."""
    first, last = 0, len(seconds) - 1
    if clip is not None:
        first = int(np.abs(seconds - clip.start).argmin())
        last = max(first, int(np.abs(seconds - clip.end).argmin()))
    each = (seconds[-1] - seconds[0]) / max(1, len(seconds) - 1)
    length = float(seconds[last] - seconds[first] + each)
    number = frames_to_take(count, last - first + 1, length)
    places = [int(place) for place in np.linspace(first, last, number, dtype=int)]
    return Choice(places, number / length if len(seconds) > 1 else None)


def _load(path: Path, count: FrameCount, clip: Clip | None, rate: float) -> Frames:
    try:
        if path.is_dir():
            return _from_pictures(path, count, clip, rate)
        return _from_video(path, count, clip)
    except _NOT_A_VIDEO as error:
        raise DataError(f"the video {path} does not decode ({error})") from error


def _from_pictures(path: Path, count: FrameCount, clip: Clip | None, rate: float) -> Frames:
    files = [file for file in path.iterdir() if file.suffix.lower() in _PICTURES]
    if not files:
        raise DataError(f"the folder of frames {path} has no {', '.join(_PICTURES)}")
    files.sort(key=lambda file: (len(file.name), file.name))  # 10.jpg comes after 9.jpg
    chosen = spread((np.arange(len(files)) + 1) / rate, count, clip)
    images = {place: open_image(files[place]) for place in set(chosen.places)}
    return Frames((images[place] for place in chosen.places), chosen.rate)


def _from_video(path: Path, count: FrameCount, clip: Clip | None) -> Frames:
    with _opened(path) as (container, stream):
        packets = _Packets.of(container, stream)
        if packets.is_timeline:
            ticks = np.array(packets.times)
            seconds = (ticks - ticks[0]) * float(stream.time_base or 1)
            chosen = spread(seconds, count, clip)
            wanted = [packets.times[place] for place in chosen.places]
            images = _decode_from_keyframes(container, stream, packets, wanted)
            if images is not None:
                return Frames((images[time] for time in wanted), chosen.rate)
    return _decode_all(path, count, clip)


def _decode_all(path: Path, count: FrameCount, clip: Clip | None) -> Frames:
    """Decode all of a video whose packets do not say which frames are shown, in two passes to save memory."""
    with _opened(path) as (_, stream):
        rate = float(stream.average_rate or 1)
    times = [frame.time for frame in _every_frame(path)]
    if not times:
        raise ValueError("it has no frames")
    known = [time for time in times if time is not None]
    seconds = np.array(known) - known[0] if len(known) == len(times) else np.arange(len(times)) / rate
    chosen = spread(seconds, count, clip)
    wanted = set(chosen.places)
    images = {place: _upright(frame) for place, frame in enumerate(_every_frame(path)) if place in wanted}
    return Frames((images[place] for place in chosen.places), chosen.rate)


@dataclass(frozen=True)
class _Packets:
    """What the packets of a stream say, without decoding them.

    Attributes:
        times: times of the frames, ascending, in the stream's time base.
        keyframes: those of ``times`` at which decoding can start.
        is_timeline: whether ``times`` are the times of the frames that the video shows.
    """

    times: list[int]
    keyframes: list[int]
    is_timeline: bool

    @classmethod
    def of(cls, container: InputContainer, stream: VideoStream) -> _Packets:
        packets = [packet for packet in container.demux(stream) if packet.size]
        if "mp4" in container.format.name and len(packets) < stream.frames:
            raise ValueError(f"it is truncated: {len(packets)} of {stream.frames} frames are present")
        shown = [packet for packet in packets if not packet.is_discard]
        times = sorted(packet.pts for packet in shown if packet.pts is not None)
        keyframes = sorted(packet.pts for packet in shown if packet.is_keyframe and packet.pts is not None)
        complete = len(set(times)) == len(shown) > 0 and bool(keyframes)
        codec = stream.codec_context.codec.canonical_name
        return cls(times, keyframes, complete and codec in _FRAME_A_PACKET)


def _decode_from_keyframes(
    container: InputContainer, stream: VideoStream, packets: _Packets, wanted: Sequence[int]
) -> dict[int, Image.Image] | None:
    """Return pictures by time; None if the stream does not show what its packets say."""
    images: dict[int, Image.Image] = {}
    frames: Iterator[VideoFrame] = iter(())
    reached = -math.inf
    for time in sorted(set(wanted)):
        before = bisect_right(packets.keyframes, time)
        if not before:
            return None
        if packets.keyframes[before - 1] > reached:
            container.seek(packets.keyframes[before - 1], stream=stream)
            frames = container.decode(stream)
        frame = next((one for one in frames if one.pts is None or one.pts >= time), None)
        if frame is None or frame.pts != time or frame.is_corrupt:
            return None
        reached = time
        images[time] = _upright(frame)
    return images


def _every_frame(path: Path) -> Iterator[VideoFrame]:
    """Yield all frames that the video shows, in order."""
    with _opened(path) as (container, stream):
        for frame in container.decode(stream):
            if frame.is_corrupt:
                raise ValueError(f"its frame at {frame.time} s is damaged")
            yield frame


def _upright(frame: VideoFrame) -> Image.Image:
    """Return the frame as a player shows it: phones record sideways and store the rotation."""
    image: Image.Image = frame.to_image()  # type: ignore[no-untyped-call]
    return image.rotate(frame.rotation, expand=True) if frame.rotation else image


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    check_is_file(path, "video")
    with av.open(str(path)) as container:
        streams = [stream for stream in container.streams.video if not _is_cover(stream)]
        if not streams:
            raise ValueError("it has no video stream")
        yield container, streams[0]


def _is_cover(stream: VideoStream) -> bool:
    """Return whether the stream is the cover picture of an audio file."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)
