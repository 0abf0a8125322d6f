"""Archives of videos: whole, in parts, and those that must leave nothing."""

from __future__ import annotations

import io
import tarfile
import zipfile

import pytest

from script_exp.errors import UserError
from script_exp.upkeep import unpack as module
from script_exp.upkeep.unpack import unpack


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def tarred(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, bytes):
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            else:
                info.type, info.linkname = data
                archive.addfile(info)
    return path


def files_in(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_archives_are_unpacked_whole(tmp_path):
    """A zip file with the folder in it, one without, and a tar file in parts that cut files anywhere."""
    folder = tmp_path / "data"
    assert unpack([zipped(tmp_path / "a.zip", {"data/": b"", "data/1.mp4": b"one"})], folder) == 1
    assert unpack([zipped(tmp_path / "b.zip", {"2.mp4": b"two", "sub/3.mp4": b"three"})], folder) == 2
    assert files_in(folder) == {"1.mp4": b"one", "2.mp4": b"two", "sub/3.mp4": b"three"}
    expected = {f"{number}.mp4": bytes([number]) * 3000 for number in range(20)}
    whole = tarred(
        tmp_path / "t.tar", {f"videos/{name}": data for name, data in expected.items()}
    ).read_bytes()
    parts = [tmp_path / f"t.tar.part.{part}" for part in "abc"]
    for number, part in enumerate(parts):
        part.write_bytes(whole[number * 25_001 : (number + 1) * 25_001])
    assert unpack(parts, tmp_path / "videos") == 20
    assert files_in(tmp_path / "videos") == expected


LINK, DEVICE = (tarfile.SYMTYPE, "/etc/passwd"), (tarfile.CHRTYPE, "")


@pytest.mark.parametrize(
    ("make", "members", "message"),
    [
        (zipped, {"1.mp4": b"1", "../out.mp4": b"2"}, "leads out of the folder"),
        (zipped, {"1.mp4": b"1", "/tmp/out.mp4": b"2"}, "leads out of the folder"),
        (zipped, {"1.mp4": b"1", "..\\out.mp4": b"2"}, "leads out of the folder"),
        (zipped, {"1.mp4": b"1", "C:/out.mp4": b"2"}, "leads out of the folder"),
        (tarred, {"1.mp4": b"1", "a/../../out.mp4": b"2"}, "leads out of the folder"),
        (tarred, {"1.mp4": b"1", "2.mp4": LINK}, "is a link or a device"),
        (tarred, {"1.mp4": b"1", "2.mp4": DEVICE}, "is a link or a device"),
        (zipped, {"1.mp4": b"1", "2.mp4": bytes(300_000)}, "far more than videos would"),
        (tarred, {"1.mp4": b"1", "2.mp4": bytes(300_000)}, "damaged archive"),
        (zipped, {"1.mp4": b"1" * 5000, "2.mp4": bytes(range(256)) * 40}, "damaged archive"),
    ],
)
def test_a_bad_archive_leaves_nothing(tmp_path, monkeypatch, make, members, message):
    monkeypatch.setattr(module, "_LEAST_LIMIT", 100_000)
    archive = make(tmp_path / "x", members)
    if "damaged" in message:  # cut off, or with other bytes in the middle
        data = bytearray(archive.read_bytes())
        data[len(data) // 3 : len(data) // 3 + 40] = bytes(40)
        archive.write_bytes(data[: len(data) // 2] if make is tarred else data)
    folder = tmp_path / "in" / "data"
    with pytest.raises(UserError, match=message):
        unpack([archive], folder)
    assert {path.name for path in tmp_path.rglob("*")} <= {"x", "in"}
