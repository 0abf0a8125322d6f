"""MM-Vet (Yu et al., 2023): open questions that need several abilities at once, graded by a language model.

Data:
    ``mm-vet/llava-mm-vet.jsonl`` of LLaVA's ``eval.zip``, with ``mm-vet.json`` and ``images`` of
    https://github.com/yuweihao/MM-Vet/releases/download/v1/mm-vet.zip beside it; or
    https://huggingface.co/datasets/lmms-lab-encoder/MMVet, its test split. 218 questions.
Prompt:
    the question alone. lmms-eval 0.7.3 has "First please perform reasoning, and think step by step
    to provide best answer to the following question: " and an empty line before it.
Rule:
    a judge gives each answer a score from 0.0 to 1.0; the number is the mean. A run never judges: it ends
    with ``submission.json`` for the official grader
    (https://huggingface.co/spaces/whyu/MM-Vet_Evaluator), and ``runners/score.py`` grades it with your own
    judge (:mod:`script_exp.benchmarks.rules.judge`), as often as needed and without the model.

The judge's question is built as in the paper: what the score means; what <AND> and <OR> in a ground truth
mean; a table of seven graded examples (five answers to an equation, three of them half right; two about a
picture's humor, one that says little and one that says all); and a last row without its score. The wording of
the instruction and of the examples is this project's own, so scores can be compared with each other, but only
roughly with official ones. The official evaluator takes the first word of a reply, asks up to five times
until it is a number from 0 to 1, and otherwise gives 0; the paper averages five runs. Here the whole reply
has to be such a number, a second invalid reply is an error, and there is one run.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from PIL import Image

from script_exp.benchmarks.base import Predicted, Sample
from script_exp.benchmarks.reading.addresses import HOMES
from script_exp.benchmarks.reading.data import (
    ParquetTable,
    as_object,
    image_file,
    read_json,
    read_jsonl,
    texts_of,
    value_of,
)
from script_exp.benchmarks.reading.files import FileBenchmark, Source
from script_exp.benchmarks.rules.judge import Judge
from script_exp.benchmarks.rules.metric import MeanScore, Scored
from script_exp.errors import UserError

ABILITIES = ("rec", "ocr", "know", "gen", "spat", "math")
_REASONING = (
    "First please perform reasoning, and think step by step to provide best answer to the following question:"
    " \n\n"
)
_JOKE = (
    "Why is this picture funny? | The sign of the bakery offers yesterday's bread as today's special. A "
    "special is expected to be something new and fresh, so that it is funny to praise bread that was left "
    "over, and that the baker is so honest about it."
)
_GRADING = f"""\
Grade the prediction of an AI model: compare it with the ground truth and give it a correctness score. \
Elements of a ground truth with <AND> between them all have to be in a prediction that is totally right; of \
elements with <OR> between them any one is enough. The correctness score is 0.0 (totally wrong), 0.1, 0.2, \
0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9 or 1.0 (totally right). Reply with nothing but the score that is missing \
in the last row.

Question | Ground truth | Prediction | Correctness
--- | --- | --- | ---
What is x? | 2 <AND> -7 | x = 4 | 0.0
What is x? | 2 <AND> -7 | x = 2 | 0.5
What is x? | 2 <AND> -7 | x = -7 | 0.5
What is x? | 2 <AND> -7 | x = -7 or 7 | 0.5
What is x? | 2 <AND> -7 | x = 2 or x = -7 | 1.0
{_JOKE} | The picture shows a bakery with a sign about its special bread. | 0.4
{_JOKE} | The joke is that the bakery sells leftover bread from the day before as a special offer, which one \
would expect to be fresh, and says so openly on its sign. | 1.0
"""
_AGAIN = "\nThe score alone, a number from 0.0 to 1.0: "
_REPLY = re.compile(r"(0?\.\d+|0|1(\.0+)?)\.?\s*\|?")  # may end a sentence or a table's row
_REPLY_TOKENS = 8  # the official three truncate a score that begins with a space


class MmVetScore(MeanScore):
    """The mean score, overall and over the questions that need an ability."""

    name = "mm_vet"

    def by_kind(self, answers: Sequence[Scored]) -> dict[str, float]:
        """Return the score of each ability, in the paper's order; a question counts for all it needs."""
        needing: dict[str, list[Scored]] = defaultdict(list)
        for answer in answers:
            for ability in answer.kind.split("+"):
                needing[ability].append(answer)
        return {ability: self.of(needing[ability]) for ability in ABILITIES if ability in needing}


@dataclass(kw_only=True)
class MmVet(FileBenchmark):
    """The first version; kinds are the abilities that a question needs, with "+" between.

    Attributes:
        judge: grades answers; not part of a run's identity.
    """

    judge: Judge = field(default_factory=Judge)

    name: ClassVar[str] = "mmvet"
    prompt_version: ClassVar[int] = 1
    rule_version: ClassVar[int] = 1  # also covers the judge's question and how its reply is read
    scoring_settings: ClassVar[frozenset[str]] = frozenset({"judge"})
    question_file: ClassVar[str] = "llava-mm-vet.jsonl"
    parquet: ClassVar[str] = "data/test-*.parquet"
    home: ClassVar[str] = HOMES["mmvet"].address
    counts: ClassVar[Mapping[Source, int]] = {"llava": 218, "hub": 218}
    llava_tokens: ClassVar[int] = 1024  # model_vqa.py
    lmms_tokens: ClassVar[int] = 1024

    @property
    def metric(self) -> MmVetScore:
        return MmVetScore()

    @property
    def is_scored(self) -> bool:
        return self.has_judge

    @property
    def has_judge(self) -> bool:
        return self.judge.url is not None

    def from_llava(self) -> list[Sample]:
        file = self._metadata()
        metadata = as_object(read_json(file), str(file))
        samples = []
        for place, line in read_jsonl(self.folder / self.question_file, self.leave_out):
            with self.entry(place):
                name = f"v1_{value_of(line, 'question_id', place, (int, str))}"
                image = value_of(line, "image", place)
                where = f"{file}, question {name}"
                samples.append(
                    self._sample(
                        name,
                        image_file(file.parent / "images", image, place),
                        value_of(line, "text", place),
                        answer=value_of(value_of(metadata, name, str(file), dict), "answer", where),
                        abilities=texts_of(metadata[name], "capability", where),
                        unit=image,
                        place=where,
                    )
                )
        return samples

    def from_hub(self) -> list[Sample]:
        columns = ["question_id", "question", "answer", "capability"]
        samples = []
        for place, row, load in ParquetTable(self.parquet_files(self.parquet), columns, image="image"):
            with self.entry(place):
                name = value_of(row, "question_id", place)
                samples.append(
                    self._sample(
                        name,
                        load,
                        value_of(row, "question", place),
                        answer=value_of(row, "answer", place),
                        abilities=value_of(row, "capability", place).split(","),
                        unit=name,  # the data does not say which questions share an image
                        place=place,
                    )
                )
        return samples

    def _sample(
        self,
        name: str,
        load: Callable[[], Image.Image],
        question: str,
        *,
        answer: str,
        abilities: Sequence[str],
        unit: str,
        place: str,
    ) -> Sample:
        unknown = set(abilities) - set(ABILITIES)
        if unknown or not abilities:
            raise UserError(f"{place}: capability={abilities}: expected some of {', '.join(ABILITIES)}")
        return Sample(
            id=name,
            visual=load,
            question=question,
            prompt=question if self.protocol == "llava" else _REASONING + question,
            references=(answer,),
            kind="+".join(ability for ability in ABILITIES if ability in abilities),
            unit=unit,
        )

    def parse(self, sample: Sample, prediction: str) -> str:
        return prediction.strip()

    def score(self, sample: Sample, answer: str) -> float:
        """Return the judge's score; 0 without a judge.

        Raises:
            UserError: if the judge cannot be reached, or twice replies with something other than a score.
        """
        if not self.has_judge:
            return 0.0
        (truth,) = sample.references
        marked = truth.replace("<AND>", " <AND> ").replace("<OR>", " <OR> ")
        question = f"{_GRADING}{sample.question} | {marked} | {answer} |"
        replies = []
        for end in ("", _AGAIN):
            try:
                reply = self.judge.ask(question + end, _REPLY_TOKENS).strip()
            except UserError as error:
                raise UserError(f"sample {sample.id}: {error}") from error
            if found := _REPLY.fullmatch(reply):
                return float(found[1])
            replies.append(reply)
        said = " and then ".join(map(repr, replies))
        raise UserError(
            f"sample {sample.id}: the judge {self.judge.model} replied {said}; expected a number from 0 to 1"
        )

    def submission(self, predicted: Iterable[Predicted]) -> tuple[str, str]:
        """Return the model's predictions by question."""
        said = {one.id: one.prediction for one in predicted}
        return "submission.json", json.dumps(said, indent=2, ensure_ascii=False)

    def _metadata(self) -> Path:
        """Return the path of ``mm-vet.json``, which may be in the archive's own subfolder."""
        places = [self.folder / sub / "mm-vet.json" for sub in ("", "mm-vet")]
        return next((place for place in places if place.is_file()), places[0])
