"""Images reach the model upright and in 8 bits; what is not an image is named and never waited for."""

from __future__ import annotations

import base64
import io
import os
import zlib
from pathlib import Path

import numpy as np
import pytest
from official import write_parquet
from PIL import Image

from script_exp.benchmarks.reading.data import ParquetTable
from script_exp.benchmarks.reading.frames import video_frames
from script_exp.benchmarks.reading.images import encoded_image, open_image
from script_exp.errors import DataError

RAMP = np.linspace(0, 255, 64).round().astype(np.uint8).reshape(8, 8)
LEFT = np.zeros((4, 6, 3), np.uint8)
LEFT[:, :3] = 255  # the left half is white


def saved(array, form, mode=None, **more):
    buffer = io.BytesIO()
    image = array if isinstance(array, Image.Image) else Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, form, **more)
    return buffer.getvalue()


def with_alpha(mode):
    image = Image.fromarray(RAMP).convert(mode)
    image.putalpha(0)
    return saved(image, "PNG")


def palette():
    image = Image.fromarray(RAMP).convert("P")
    return saved(image, "PNG", transparency=0)


GRAY = {  # all of them are one ramp
    "8 bits": saved(RAMP, "PNG"),
    "16 bits, PNG": saved(RAMP.astype(np.uint16) * 257, "PNG"),
    "16 bits, TIFF": saved(RAMP.astype(np.uint16) * 257, "TIFF"),
    "16 bits, big-endian": saved(RAMP.astype(">u2") * 257, "TIFF"),
    "16 bits, PGM": b"P5 8 8 65535\n" + (RAMP.astype(">u2") * 257).tobytes(),
    "32 bits with 16 in use": saved(RAMP.astype(np.int32) * 257, "TIFF"),
    "32 bits with 8 in use": saved(RAMP.astype(np.int32), "TIFF"),
    "floats to 1": saved(RAMP.astype(np.float32) / 255, "TIFF"),
    "floats to 255": saved(RAMP.astype(np.float32), "TIFF"),
    "alpha": with_alpha("L"),
    "color and alpha": with_alpha("RGB"),
    "palette": palette(),
    "CMYK": saved(RAMP, "TIFF", "CMYK"),
}


def three_ways(content, folder):
    """The same bytes as a file, in a parquet file and in a table."""
    (folder / "image").write_bytes(content)
    yield lambda: open_image(folder / "image")
    write_parquet(folder / "rows.parquet", [{"id": "1", "image": {"bytes": content, "path": "a"}}])
    ((_, _, load),) = ParquetTable([folder / "rows.parquet"], ["id"], image="image")
    yield load
    yield encoded_image(base64.b64encode(content).decode(), "line 1")


@pytest.mark.parametrize("name", GRAY)
def test_gray_values_keep_their_share_of_the_range(name, tmp_path):
    for load in three_ways(GRAY[name], tmp_path):
        image = load()
        assert image.mode == "RGB"
        assert np.abs(np.asarray(image).astype(int) - RAMP[..., None]).max() <= 1


def test_all_of_a_dark_16_bit_image_stays_dark(tmp_path):
    (tmp_path / "dark.png").write_bytes(saved(np.full((4, 4), 200, np.uint16), "PNG"))
    assert np.asarray(open_image(tmp_path / "dark.png")).max() == 1  # 200 of 65,535


@pytest.mark.parametrize(
    "values", [[[-1.0, 1.0]], [[0.0, 1e6]], [[np.nan, 1.0]], [[0.0, np.inf]]], ids=["-1", "1e6", "nan", "inf"]
)
def test_values_of_unknown_range_are_named(values, tmp_path):
    for load in three_ways(saved(np.array(values, np.float32), "TIFF"), tmp_path):
        with pytest.raises(DataError, match=r"its values go from .*expected 0 to 1 or 0 to 255"):
            load()


def test_integers_of_unknown_range_are_named(tmp_path):
    for load in three_ways(saved(np.array([[0, 2**30]], np.int32), "TIFF"), tmp_path):
        with pytest.raises(DataError, match=r"its values go from 0 to .*expected 0 to 255 or 0 to 65,535"):
            load()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize(("orientation", "turned"), [(3, 180), (6, 270), (8, 90)])
def test_a_photo_is_upright(form, orientation, turned, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    for load in three_ways(saved(LEFT, form, exif=exif), tmp_path):
        upright = np.asarray(Image.fromarray(LEFT).rotate(turned, expand=True))
        assert load().size == (upright.shape[1], upright.shape[0])
        assert np.abs(np.asarray(load()).astype(int) - upright).mean() < 20  # JPEG


def test_broken_exif_does_not_spoil_the_image(tmp_path):
    for load in three_ways(
        saved(LEFT, "JPEG", quality=100, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01"), tmp_path
    ):
        assert load().size == (6, 4)


@pytest.mark.parametrize("size", [(1, 1), (1, 10_000)])
def test_a_single_pixel_and_a_strip(size, tmp_path):
    for load in three_ways(saved(Image.new("RGB", size), "PNG"), tmp_path):
        assert load().size == size


def bomb():
    """A PNG that claims 60,000 x 60,000 pixels."""
    good = bytearray(saved(LEFT, "PNG"))
    good[16:24] = (60_000).to_bytes(4, "big") * 2
    good[29:33] = zlib.crc32(bytes(good[12:29])).to_bytes(4, "big")
    return bytes(good)


@pytest.mark.parametrize(
    "content", [b"", b"no image", saved(RAMP, "PNG")[:60], saved(LEFT, "JPEG")[:300], bomb()],
    ids=["empty", "text", "cut png", "cut jpeg", "bomb"],
)  # fmt: skip
def test_a_broken_image_is_named(content, tmp_path):
    for load in three_ways(content, tmp_path):
        with pytest.raises(DataError, match="does not decode"):
            load()


def not_files(folder):
    os.mkfifo(folder / "pipe")
    (folder / "folder").mkdir()
    return {"pipe": "not a file", "folder": "not a file", "gone": "missing", "a" * 300: "does not decode"}


def test_what_is_not_a_file_is_named_and_not_waited_for(tmp_path):
    for name, why in not_files(tmp_path).items():
        with pytest.raises(DataError, match=why):
            open_image(tmp_path / name)
    with pytest.raises(DataError, match="not a file"):
        open_image(Path("/dev/zero"))


def test_a_video_that_is_a_pipe(tmp_path):
    for name, why in not_files(tmp_path).items():
        if name != "folder":  # of frames
            with pytest.raises(DataError, match=why):
                video_frames(tmp_path, name, "line 1", 2)()
