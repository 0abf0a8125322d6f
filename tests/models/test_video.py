"""How many frames of a video a model gets: from its checkpoint's config, else its family's usual number."""

from __future__ import annotations

import json

import pytest
import torch
from families import build, picture, save
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from script_exp.benchmarks.reading.frame_count import Frames, PerSecond, frame_count, frame_setting
from script_exp.errors import UserError
from script_exp.models.families import qwen2_5_vl_video
from script_exp.models.families.qwen2_5_vl_video import Qwen25VLVideoAdapter
from script_exp.models.loading.checkpoint import find_checkpoint
from script_exp.models.loading.wanted import Wanted

BY_THE_CLOCK = PerSecond(fps=2.0, min_frames=4, max_frames=768, multiple=2)


def frames_of(folder):
    return find_checkpoint(Wanted(str(folder)), needs_query=False).taking("video").frames


@pytest.mark.parametrize(
    ("family", "usual"),
    [("llava_next_video", 32), ("llava_onevision", 32), ("qwen2_5_vl", BY_THE_CLOCK), ("llava", None)],
)
def test_what_is_usual_of_a_family(family, usual, tmp_path):
    assert frames_of(save(family, tmp_path)) == usual


@pytest.mark.parametrize(
    ("family", "settings", "frames"),
    [
        ("llava_onevision", {"num_frames": 8}, 8),
        ("llava_onevision", {"num_frames": None, "fps": None, "size": {"height": 28}}, 32),
        ("llava_onevision", {"fps": 1.5, "max_frames": 20}, PerSecond(fps=1.5, max_frames=20)),
        ("qwen2_5_vl", {"min_frames": 6, "max_frames": 64}, PerSecond(2.0, 6, 64, 2)),
        ("qwen2_5_vl", {"fps": 1}, PerSecond(1, 4, 768, 2)),
        ("qwen2_5_vl", {"num_frames": 24}, 24),
    ],
)
def test_the_config_decides(family, settings, frames, tmp_path):
    folder = save(family, tmp_path)
    (folder / "video_preprocessor_config.json").write_text(json.dumps(settings))
    assert frames_of(folder) == frames
    assert frame_count(json.loads(json.dumps(frame_setting(frames)))) == frames


def test_the_processors_own_config_comes_first(tmp_path):
    folder = save("llava_next_video", tmp_path)
    (folder / "video_preprocessor_config.json").write_text('{"num_frames": 8}')
    processor = folder / "processor_config.json"
    known = json.loads(processor.read_text()) if processor.is_file() else {}
    processor.write_text(json.dumps(known | {"video_processor": {"num_frames": 12}}))
    assert frames_of(folder) == 12


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"num_frames": 0}', "the video processor's config in .*: frames=0: expected a whole number >= 1"),
        ('{"fps": -1}', r"the video processor's config in .*: frames\.fps=-1: expected a number > 0"),
        ('{"fps": ', "video_preprocessor_config.json is not valid JSON"),
        ("[8]", "video_preprocessor_config.json holds list; expected a JSON object"),
        ('{"fps": true}', r"frames\.fps=True: expected a number > 0"),
    ],
)
def test_a_config_that_is_not_right(text, message, tmp_path):
    folder = save("llava_onevision", tmp_path)
    (folder / "video_preprocessor_config.json").write_text(text)
    with pytest.raises(UserError, match=message):
        frames_of(folder)


def test_a_processors_config_that_is_not_right(tmp_path):
    folder = save("llava_onevision", tmp_path)
    (folder / "processor_config.json").write_text('{"video_processor": [8]}')
    with pytest.raises(UserError, match=r"processor_config.json: video_processor=\[8\]: expected an object"):
        frames_of(folder)


def test_the_frames_of_a_long_video_of_qwen_share_its_pixels():
    """qwen-vl-utils: VIDEO_TOTAL_PIXELS over the frames, two a step, at most VIDEO_MAX_PIXELS each."""
    lowest, highest = Qwen25VLVideoAdapter.frame_limits(400, 28 * 28, 2)
    assert (lowest, highest) == (128 * 28 * 28, 128_000 * 784 * 9 // 10 * 2 // 400)
    assert Qwen25VLVideoAdapter.frame_limits(16, 28 * 28, 2) == (128 * 28 * 28, 768 * 28 * 28)


@pytest.mark.parametrize(("count", "total", "highest"), [(16, 115_200, 768), (8, 2304, 576)])
def test_a_frame_has_no_more_tokens_than_its_share(count, total, highest, tmp_path, monkeypatch):
    """A total of 2304 tokens is to 8 frames what the real one is to 400."""
    monkeypatch.setattr(qwen2_5_vl_video, "_TOTAL", total)
    model = build("qwen2_5_vl_video", tmp_path)
    video = Frames([picture(900, 1200)] * count, rate=2.0)
    inputs = model.adapter.process(model.processing.image_processor, [[video]])
    pixels = {"min_pixels": 128 * 28 * 28, "max_pixels": highest * 28 * 28}
    height, width = smart_resize(900, 1200, factor=28, **pixels)
    assert torch.equal(inputs["video_grid_thw"], torch.tensor([[count // 2, height // 14, width // 14]]))
