"""``data.py fetch`` from a made hub: whole, cut off, another size, gated, not there, no space."""

from __future__ import annotations

from pathlib import Path

import huggingface_hub
import pytest
from commands import start
from disks import small_disk
from gqa_data import write_hub
from made_hub import COMMIT, made_hub
from test_unpack import tarred, zipped

from script_exp.benchmarks.gqa import Gqa
from script_exp.benchmarks.longvideobench import LongVideoBench
from script_exp.benchmarks.videomme import VideoMme
from script_exp.commands.data import main
from script_exp.upkeep.fetch import fetch_benchmark

GQA = "datasets/lmms-lab-encoder/GQA"
TOKEN = "hf_thisisasecret"


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub with GQA in miniature, which this process may ask."""
    with made_hub() as state:
        state.files[GQA] = contents(write_hub(tmp_path / "there")) | {
            "README.md": b"not needed",
            "train-1": b"x",
        }
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", state.url)
        template = state.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
        monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda _: None)
        monkeypatch.setattr(Gqa, "counts", {"llava": 5, "hub": 5})
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield state


def wanted(hub):
    return {name: data for name, data in hub.files[GQA].items() if name.endswith(".parquet")}


def error_of(capsys) -> str:
    """The only line on stderr that is no progress bar."""
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def test_the_command_as_typed(hub, tmp_path):
    """The user's token goes to the hub and nowhere else; nothing is asked of a hub without the command."""
    environment = {"HF_ENDPOINT": hub.url, "HF_TOKEN": TOKEN, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    process = start("runners/data.py", "fetch", "gqa", f"data={tmp_path / 'data'}", env=environment)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 1, errors  # status: these are not the official questions
    assert contents(tmp_path / "data" / "gqa") == wanted(hub)
    first, then, *_ = output.splitlines()
    total = sum(map(len, wanted(hub).values()))
    assert first.startswith(
        f"gqa: {hub.url}/{GQA} (license: cc-by-4.0), 2 files, {total / 1000:.3g} kB, of them"
    )
    assert then == f"gqa: {hub.url}/{GQA} is in {tmp_path / 'data' / 'gqa'}"
    assert "5 samples, but the official files have 12578" in " ".join(output.split())
    assert {headers["authorization"] for _, headers in hub.gets()} == {f"Bearer {TOKEN}"}
    files = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert TOKEN not in output + errors + "".join(files)


def test_what_is_here_is_not_fetched_again(hub, tmp_path, capsys):
    words = ["fetch", "gqa", f"data={tmp_path}"]
    assert main(words) == 0
    assert "complete" in capsys.readouterr().out
    hub.requests.clear()
    assert main(words) == 0
    assert "0 B to fetch" in capsys.readouterr().out
    assert hub.gets() == []
    damaged = tmp_path / "gqa" / sorted(wanted(hub))[0]
    damaged.write_bytes(damaged.read_bytes()[:100])
    assert main(words) == 0
    assert contents(tmp_path / "gqa") == wanted(hub)
    assert [name for name, _ in hub.gets()] == [damaged.name]


def test_a_download_that_is_cut_off_continues(hub, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 100_000)  # what is lost at most
    words = ["fetch", "gqa", f"data={tmp_path}"]
    hub.files[GQA]["testdev_balanced_images/testdev-00000-of-00001.parquet"] += bytes(3_000_000)
    sizes = [len(data) for _, data in sorted(wanted(hub).items())]
    hub.left = sizes[0] - 500_000
    assert main(words) == 2
    line = error_of(capsys)
    assert line.startswith(
        f"error: {hub.url}/{GQA}: cannot get testdev_balanced_images/testdev-00000-of-00001"
    )
    assert line.endswith("what was fetched so far is kept, and the same command continues")
    assert not list((tmp_path / "gqa").glob("*/*.parquet"))
    hub.left = None
    hub.requests.clear()
    assert main(words) == 1  # the images are no parquet file any more
    assert contents(tmp_path / "gqa") == wanted(hub)
    ranges = [headers.get("range") for _, headers in hub.gets()]
    assert ranges[1] is None
    assert 0 < int(ranges[0].removeprefix("bytes=").rstrip("-")) <= sizes[0] - 500_000


def test_what_cannot_be_had_is_one_sentence_and_leaves_nothing(hub, tmp_path, monkeypatch, capsys):
    words = ["fetch", "gqa", f"data={tmp_path / 'data'}"]
    hub.lost = 10
    assert main(words) == 2
    assert "Consistency check failed" in error_of(capsys)
    assert contents(tmp_path / "data") == {}
    hub.lost, hub.changed = 0, True
    assert main(words) == 2
    assert "came with other contents than the hub says" in error_of(capsys)
    assert contents(tmp_path / "data") == {}
    hub.changed = False
    hub.gated.add(GQA)
    assert main(words) == 2
    assert f"{hub.url}/{GQA}: gated: accept its terms there" in error_of(capsys)
    monkeypatch.setenv("HF_TOKEN", TOKEN)  # of another account
    assert main(words) == 2
    assert f"{hub.url}/{GQA}: gated: accept its terms there" in error_of(capsys)
    hub.gated.clear()
    files = hub.files.pop(GQA)
    assert main(words) == 2
    assert f"{hub.url}/{GQA}: the hub has no such dataset, or not for you" in error_of(capsys)
    hub.files[GQA] = {"README.md": b"moved"}
    assert main(words) == 2
    assert "none of the expected files is there" in error_of(capsys)
    hub.files[GQA] = files | {"../testdev_balanced_images/x.parquet": b"x"}
    assert main(words) == 2
    assert "leads out of the folder; nothing is fetched" in error_of(capsys)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    assert main(words) == 2
    assert "http://127.0.0.1:9/datasets/lmms-lab-encoder/GQA: cannot get its list of files (" in error_of(
        capsys
    )
    assert contents(tmp_path / "data") == {}
    for given, message in (
        (["fetch"], "fetch: expected names of benchmarks, or --model NAME"),
        (["fetch", "gqq"], "benchmark=gqq: expected one of"),
        (["fetch", "--model", "llava"], "model=llava: expected one of"),
        (["fetch", "--model", "tiny"], "--model=tiny: expected a model from the hub"),
        (["status", "--model", "tiny"], "--model=tiny: expected it with fetch"),
    ):
        assert main(given) == 2
        assert message in error_of(capsys)


def test_a_full_disk(hub, tmp_path, monkeypatch, capsys):
    """Seen before it starts; and if the space goes away meanwhile, what was fetched is kept."""
    hub.files[GQA]["testdev_balanced_images/more.parquet"] = bytes(3_000_000)
    disk = tmp_path / "disk"
    with small_disk(disk, "2m"):
        words = ["fetch", "gqa", f"data={disk}"]
        assert main(words) == 2
        assert "error: no space: 3.0" in error_of(capsys)
        assert list(disk.iterdir()) == []
        monkeypatch.setattr("script_exp.upkeep.fetch.check_space", lambda *_: None)
        assert main(words) == 2
        assert error_of(capsys).endswith("what was fetched so far is kept, and the same command continues")
        assert not (disk / "gqa" / "testdev_balanced_images" / "more.parquet").exists()


def test_archives_are_unpacked_and_not_fetched_again(hub, tmp_path):
    names = ["videos_chunked_01.zip", "videos_chunked_02.zip"]
    zips = [zipped(tmp_path / name, {f"data/{name[15:17]}.mp4": name.encode()}) for name in names]
    hub.files["datasets/lmms-eval/Video-MME"] = {
        "videomme/test-00000-of-00001.parquet": b"rows",
        **{path.name: path.read_bytes() for path in zips},
    }
    whole = tarred(tmp_path / "t", {f"videos/{number}.mp4": bytes(3000) for number in range(9)}).read_bytes()
    hub.files["datasets/longvideobench/LongVideoBench"] = {
        "lvb_val.json": b"[]",
        "videos.tar.part.aa": whole[:20_000],
        "videos.tar.part.ab": whole[20_000:],
    }
    huggingface_hub.constants.HF_HUB_OFFLINE = False
    for kind, name, expected in (
        (VideoMme, "videomme", {"data/01.mp4", "data/02.mp4", "videomme/test-00000-of-00001.parquet"}),
        (LongVideoBench, "lvb", {"lvb_val.json", *(f"videos/{number}.mp4" for number in range(9))}),
    ):
        benchmark = kind(data=str(tmp_path / name))
        fetch_benchmark(benchmark).run()
        assert contents(tmp_path / name).keys() == expected
        assert fetch_benchmark(benchmark).missing == {}


def test_a_model_is_found_in_the_cache_offline(hub, tmp_path, monkeypatch, capsys):
    """The weights in one format only, and the CLIP model that its methods ask."""
    model = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors": b"new"}
    hub.files["llava-hf/llava-1.5-7b-hf"] = model | {"pytorch_model.bin": b"old", "picture.png": b"x"}
    clip = {"config.json": b"{}", "pytorch_model.bin": b"clip"}
    hub.files["openai/clip-vit-large-patch14-336"] = clip | {"tf_model.h5": b"x"}
    assert main(["fetch", "--model", "llava_1_5_7b"]) == 0
    assert capsys.readouterr().out.count("llava_1_5_7b: ") == 4
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    hub.requests.clear()
    for name, files in (("llava-hf/llava-1.5-7b-hf", model), ("openai/clip-vit-large-patch14-336", clip)):
        folder = Path(huggingface_hub.snapshot_download(name, cache_dir=tmp_path / "cache"))
        assert folder.name == COMMIT
        assert contents(folder) == files
    assert hub.requests == []
