"""Read images as the model gets them: upright, RGB, 8 bits per channel."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from script_exp.errors import DataError

# What Pillow raises for damaged files, depending on the format.
NOT_AN_IMAGE = (
    OSError,
    ValueError,
    TypeError,
    SyntaxError,
    EOFError,
    LookupError,
    ArithmeticError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
_SIXTEEN_BITS = 65_535
_ALWAYS_SIXTEEN = ("PNG", "PPM")  # formats whose gray values in mode "I" go up to 65,535


def open_image(path: Path) -> Image.Image:
    """Return the image in a file.

    Raises:
        DataError: if it is missing, not a file (a folder, a pipe, a device), or broken.
    """
    try:
        check_is_file(path, "image")
        with Image.open(path) as opened:
            return as_rgb(opened)
    except NOT_AN_IMAGE as error:
        raise DataError(f"the image {path} does not decode ({error})") from error


def encoded_image(text: str, place: str) -> Callable[[], Image.Image]:
    """Return a loader of a base64 image in a table; one that does not decode is a :class:`DataError`."""

    def load() -> Image.Image:
        try:
            return decoded_image(base64.b64decode(text, validate=True))
        except NOT_AN_IMAGE as error:  # binascii.Error is a ValueError
            raise DataError(f"{place}: the image does not decode ({error})") from error

    return load


def decoded_image(content: bytes) -> Image.Image:
    """Return the image in the bytes of a file; raises one of ``NOT_AN_IMAGE`` if they are broken."""
    with Image.open(io.BytesIO(content)) as opened:
        return as_rgb(opened)


def check_is_file(path: Path, what: str) -> None:
    """Check that an image or video is a regular file: to open a pipe or a terminal would wait forever.

    Raises:
        DataError: if it is missing, or anything else.
        OSError, ValueError: if the path cannot be looked up, for example because a name is too long.
    """
    if not path.is_file():
        raise DataError(f"the {what} {path} is {'not a file' if path.exists() else 'missing'}")


def as_rgb(image: Image.Image) -> Image.Image:
    """Return an opened image as a viewer shows it: rotated as its EXIF says, 8 bits per channel.

    Pillow's ``convert("RGB")``, which LLaVA and lmms-eval use, is right for 8 bits. It cuts off larger values
    at 255: 16-bit gray, as of depth cameras and scans, turns white, and floats from 0 to 1 turn black. Such
    images are scaled to 0 to 255 instead. The rotation is applied as in the ``datasets`` library, which
    lmms-eval reads with.

    Raises:
        ValueError: if the range of 32-bit values is unknown; for broken images, also the other errors in
            ``NOT_AN_IMAGE``.
    """
    image.load()
    with suppress(*NOT_AN_IMAGE):  # the EXIF may be broken and the image whole
        ImageOps.exif_transpose(image, in_place=True)
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = _gray_in_eight_bits(np.asarray(image), image.mode, image.format)
    return image.convert("RGB")


def _gray_in_eight_bits(values: np.ndarray, mode: str, form: str | None) -> Image.Image:
    low, high = float(values.min()), float(values.max())
    if mode.startswith("I;16") or (mode == "I" and form in _ALWAYS_SIXTEEN):
        largest = _SIXTEEN_BITS
    elif mode == "F":
        largest = 1 if high <= 1 else 255
    else:
        largest = 255 if high <= 255 else _SIXTEEN_BITS
    if not 0 <= low <= high <= largest:  # also false for NaN
        expected = "0 to 1 or 0 to 255" if mode == "F" else "0 to 255 or 0 to 65,535"
        raise ValueError(f"its values go from {low:g} to {high:g}; expected {expected}")
    scaled = values.astype(np.float64) * (255 / largest)
    return Image.fromarray(scaled.round().astype(np.uint8))
