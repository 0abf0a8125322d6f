"""Small real videos whose frames show their own index."""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from PIL import Image

SIZE = (64, 48)
_BITS = 8


def coded(index, size=SIZE):
    """A picture with the bits of ``index`` as black and white columns over a gray lower half."""
    width, height = size
    pixels = np.full((height, width, 3), 128, dtype=np.uint8)
    column = width // _BITS
    for bit in range(_BITS):
        pixels[: height // 2, bit * column : (bit + 1) * column] = 255 * (index >> bit & 1)
    return Image.fromarray(pixels)


def index_of(image):
    """The number that :func:`coded` put into a picture, whatever a codec did to it."""
    gray = np.asarray(image.convert("L"), dtype=float)
    columns = np.split(gray[: image.height // 2 - 2], _BITS, axis=1)
    return sum(int(column[:, 2:-2].mean() > 128) << bit for bit, column in enumerate(columns))


def write_video(
    path, frames=12, rate=6, codec="libx264", keyframes=250, times=None, header_in_front=False, **options
):
    """A video of coded pictures; ``times`` are those of the frames in 1/600 s, where they are uneven."""
    path.parent.mkdir(parents=True, exist_ok=True)
    muxer = {"movflags": "faststart"} if header_in_front else {}
    with av.open(str(path), "w", options=muxer) as container:
        stream = container.add_stream(codec, rate=rate, options={key: str(v) for key, v in options.items()})
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.codec_context.gop_size = keyframes
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 600)
        for index in range(frames):
            frame = av.VideoFrame.from_image(coded(index))
            frame.pts, frame.time_base = (
                (index, Fraction(1, rate)) if times is None else (times[index], Fraction(1, 600))
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def every_frame(path):
    """The indices of all frames in the order of showing, by decoding everything."""
    with av.open(str(path)) as container:
        return [index_of(frame.to_image()) for frame in container.decode(video=0)]
