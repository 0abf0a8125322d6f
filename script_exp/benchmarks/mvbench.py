"""MVBench (Li et al., 2024): twenty multiple-choice tasks that a single frame does not answer.

Data:
    https://huggingface.co/datasets/OpenGVLab/MVBench: ``json/TASK.json``, and the videos in one of two
    layouts. The revision ``video``, which lmms-eval reads, has them beside ``json``, cut to the part that is
    asked about. The main revision has ``video/*.zip``, to be unpacked in place: whole videos, with the part
    given by ``start`` and ``end`` of a question, and for TVQA folders of frames, three per second. For this
    revision, NTU RGB+D has to be requested from its authors. Twenty tasks of 200 questions.
Prompt:
    "Question:", the question, "Option:", a line "(A) ..." for each option, "Only give the best option.", as
    in lmms-eval 0.7.3; versions of 2024 have lines "A. ..." and another instruction.
Rule:
    that of lmms-eval 0.7.3: the letter before a period at the beginning; otherwise, with punctuation removed,
    the first word that is a single letter from a to e. Accuracy, averaged over the tasks.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from script_exp.benchmarks.base import Sample
from script_exp.benchmarks.reading.addresses import HOMES
from script_exp.benchmarks.reading.data import read_entries, value_of
from script_exp.benchmarks.reading.files import Source
from script_exp.benchmarks.reading.frames import Clip, video_frames
from script_exp.benchmarks.reading.video import VideoBenchmark, find_video, letter_of, options_of
from script_exp.benchmarks.rules.choices import lettered, listed
from script_exp.benchmarks.rules.metric import MeanOverKinds, Metric
from script_exp.benchmarks.rules.vqa import without_punctuation
from script_exp.errors import UserError

_FRAMES_A_SECOND = 3.0  # of TVQA's folders


class _Videos(NamedTuple):
    """Where the videos of a task are.

    Attributes:
        cut: their folder in the revision ``video``.
        whole: their folder in the main revision.
        bounded: whether ``start`` and ``end`` select a part of a whole video.
    """

    cut: str
    whole: str
    bounded: bool = False


_STAR = _Videos("star/Charades_segment", "star/Charades_v1_480", bounded=True)
_CLEVRER = _Videos("clevrer/video_validation", "clevrer/video_validation")
_PERCEPTION = _Videos("perception/videos", "perception/videos")
TASKS: dict[str, _Videos] = {
    "action_sequence": _STAR,
    "action_prediction": _STAR,
    "action_antonym": _Videos("ssv2_video_mp4", "ssv2_video"),
    "fine_grained_action": _Videos("Moments_in_Time_Raw/videos", "Moments_in_Time_Raw/videos"),
    "unexpected_action": _Videos("FunQA_test/test", "FunQA_test/test"),
    "object_existence": _CLEVRER,
    "object_interaction": _STAR,
    "object_shuffle": _PERCEPTION,
    "moving_direction": _CLEVRER,
    "action_localization": _Videos("sta/sta_video_segment", "sta/sta_video", bounded=True),
    "scene_transition": _Videos("scene_qa/video", "scene_qa/video"),
    "action_count": _PERCEPTION,
    "moving_count": _CLEVRER,
    "moving_attribute": _CLEVRER,
    "state_change": _PERCEPTION,
    "fine_grained_pose": _Videos("nturgbd_convert", "nturgbd"),
    "character_order": _PERCEPTION,
    "egocentric_navigation": _Videos("vlnqa", "vlnqa"),
    "episodic_reasoning": _Videos("tvqa/video_fps3_hq_segment", "tvqa/frames_fps3_hq", bounded=True),
    "counterfactual_inference": _CLEVRER,
}
_PLACES = ("", "data0613/", "video/", "video/data0613/")  # data0613: videos that were added later


class MvbenchAverage(MeanOverKinds):
    """The mean over the twenty tasks."""

    name = "mvbench_average"
    kinds = tuple(TASKS)


@dataclass(kw_only=True)
class Mvbench(VideoBenchmark):
    """Kinds are the tasks, units the videos or the parts of them that are asked about."""

    name: ClassVar[str] = "mvbench"
    prompt_version: ClassVar[int] = 1
    question_file: ClassVar[str] = "json/*.json"
    parquet: ClassVar[str] = ""
    more_files: ClassVar[tuple[str, ...]] = ("*",)
    revision: ClassVar[str | None] = "video"
    home: ClassVar[str] = HOMES["mvbench"].address
    counts: ClassVar[Mapping[Source, int]] = {"json": 4_000}

    @property
    def metric(self) -> Metric:
        return MvbenchAverage()

    def read(self) -> list[Sample]:
        files = {file.stem: file for file in self.json_files()}
        unknown = [str(file) for task, file in files.items() if task not in TASKS]
        if unknown:
            raise UserError(f"{unknown[0]}: expected the name of a task: {', '.join(TASKS)}")
        samples = []
        for task in filter(files.__contains__, TASKS):
            for number, (place, entry) in enumerate(read_entries(files[task])):
                with self.entry(place):
                    samples.append(self._sample(task, number, entry, files[task].parents[1], place))
        return samples

    def _sample(self, task: str, number: int, entry: dict[str, Any], root: Path, place: str) -> Sample:
        question, options = value_of(entry, "question", place), options_of(entry, "candidates", place)
        choices = listed(lettered(options), "({}) {}")
        video, clip = _video(root, task, entry, place)
        return Sample(
            id=f"{task}-{number}",
            visual=video_frames(root, video, place, self.frame_count, clip, _FRAMES_A_SECOND),
            question=f"{question}\n{choices}",
            prompt=f"Question:{question}\nOption:\n{choices}\nOnly give the best option.\n",
            references=(letter_of(value_of(entry, "answer", place), options, place),),
            kind=task,
            unit=video if clip is None else f"{video} from {clip.start} to {clip.end} s",
        )

    def parse(self, sample: Sample, prediction: str) -> str:
        text = prediction.strip()
        if stated := re.match(r"([a-e])\.\s*.+$", text, re.IGNORECASE):
            return stated[1].upper()
        words = without_punctuation(re.sub(r"[\n\t]", " ", text))
        letter = re.search(r"\b[a-e]\b", words, re.IGNORECASE)
        return letter[0].upper() if letter else ""


def _video(root: Path, task: str, entry: dict[str, Any], place: str) -> tuple[str, Clip | None]:
    """Return the path of an entry's video inside ``root``, and the part that is asked about."""
    videos, name = TASKS[task], value_of(entry, "video", place)
    whole = [f"{where}{videos.whole}/{name}" for where in _PLACES]
    cut = [f"{where}{videos.cut}/{name}" for where in _PLACES]
    names = [*whole, *cut] if (root / "video").is_dir() else [*cut, *whole]
    found = find_video(root, names, place)
    if not videos.bounded or found.startswith(tuple(cut)):
        return found, None
    start, end = (value_of(entry, key, place, (int, float)) for key in ("start", "end"))
    if not 0 <= start <= end <= sys.float_info.max:
        raise UserError(f"{place}: start={start}, end={end}: expected 0 <= start <= end")
    return found, Clip(float(start), float(end))
