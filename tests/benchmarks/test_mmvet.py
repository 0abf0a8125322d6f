"""MM-Vet: samples and submission without a judge, scores with one."""

from __future__ import annotations

import json

import pytest
from judge_server import KEY, Script, judge_server
from official import (
    answered,
    cell,
    finished,
    predicted,
    run_benchmark,
    write_json,
    write_jsonl,
    write_parquet,
    write_picture,
)

from script_exp.benchmarks import METRICS
from script_exp.benchmarks.mmvet import MmVet
from script_exp.benchmarks.rules.judge import Judge
from script_exp.errors import DataError, UserError

ROWS = [  # number, image, question, answer, capabilities
    (0, "v1_0.png", "What is x in the equation?", "-1<AND>-5", ["ocr", "math"]),
    (1, "v1_1.png", "What is d in the last equation?", "1.25<OR>1¼", ["math", "ocr"]),
    (2, "v1_1.png", "What is x?", "10", ["ocr", "math"]),
    (
        97,
        "v1_97.jpg",
        "What are all the Chinese scene text in the image?",
        "天府广场<OR>廣場",
        ["ocr", "rec"],
    ),
    (71, "v1_71.jpg", "What is the name of this dish?", "gimbap", ["rec", "know"]),
]
PREDICTIONS = {
    "v1_0": "x = -1 or x = -5", "v1_1": "d is 1¼ | about", "v1_2": "11", "v1_97": "天府广场\nand more",
    "v1_71": "",
}  # fmt: skip
GRADES = {"v1_0": "1.0", "v1_1": "1", "v1_2": "0.0", "v1_97": " 0.4\n", "v1_71": "0"}
MARKED = {
    "v1_0": "What is x in the equation? | -1 <AND> -5 | x = -1 or x = -5 |",
    "v1_1": "What is d in the last equation? | 1.25 <OR> 1¼ | d is 1¼ | about |",
    "v1_2": "What is x? | 10 | 11 |",
    "v1_97": "What are all the Chinese scene text in the image? | 天府广场 <OR> 廣場 | 天府广场\nand more |",
    "v1_71": "What is the name of this dish? | gimbap |  |",
}
REASONING = (
    "First please perform reasoning, and think step by step to provide best answer to the following question:"
)


def write_llava(folder, archive=""):
    lines = [
        {"image": image, "text": question, "category": "conv", "question_id": number}
        for number, image, question, _, _ in ROWS
    ]
    write_jsonl(folder / "llava-mm-vet.jsonl", lines)
    write_json(
        folder / archive / "mm-vet.json",
        {
            f"v1_{number}": {
                "imagename": image, "question": question, "answer": answer,
                "imagesource": "https://example.com", "capability": capabilities,
            }
            for number, image, question, answer, capabilities in ROWS
        },
    )  # fmt: skip
    for row in ROWS:
        write_picture(folder / archive / "images" / row[1])
    return folder


def write_hub(folder):
    rows = [
        {
            "question_id": f"v1_{number}", "image": cell(image), "question": question, "answer": answer,
            "image_source": "https://example.com", "capability": ",".join(capabilities),
        }
        for number, image, question, answer, capabilities in ROWS
    ]  # fmt: skip
    write_parquet(folder / "data" / "test-00000-of-00001.parquet", rows)
    return folder


@pytest.fixture(params=[write_llava, write_hub])
def folder(request, tmp_path):
    return request.param(tmp_path / "data" / "mm-vet")


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)


def mmvet(folder, **settings):
    return MmVet(**{"data": str(folder), "check_count": False} | settings)


def judged(folder, script):
    judge = Judge(url=script.url, model="grader-1", key_variable="JUDGE_KEY", wait=0.01, tries=3)
    return mmvet(folder, judge=judge)


def grade(question):
    """What a good judge says: it knows the last row."""
    (name,) = [name for name, row in MARKED.items() if question.endswith(row)]
    return GRADES[name]


def test_samples(folder):
    samples = mmvet(folder).samples()
    assert [(s.id, s.question, *s.references) for s in samples] == [
        (f"v1_{number}", question, answer) for number, _, question, answer, _ in ROWS
    ]
    assert all(s.prompt == s.question for s in samples)
    assert [s.kind for s in samples] == ["ocr+math"] * 3 + ["rec+ocr", "rec+know"]
    assert [s.visual().size for s in samples] == [(40, 30)] * 5
    lmms = mmvet(folder, protocol="lmms")
    assert lmms.samples()[0].prompt == f"{REASONING} \n\nWhat is x in the equation?"
    assert lmms.samples()[0].question == "What is x in the equation?"
    assert (mmvet(folder).max_new_tokens, lmms.max_new_tokens) == (1024, 1024)
    with pytest.raises(UserError, match=r"5 samples, but the official files have 218"):
        mmvet(folder, check_count=True).samples()


def test_the_archive_may_have_a_folder_of_its_own(tmp_path):
    inside = mmvet(write_llava(tmp_path / "inside", "mm-vet"))
    beside = mmvet(write_llava(tmp_path / "beside"))
    assert inside.fingerprint() == beside.fingerprint()
    assert inside.samples()[2].visual().size == (40, 30)
    assert [s.unit for s in inside.samples()][:3] == ["v1_0.png", "v1_1.png", "v1_1.png"]


def test_without_a_judge_there_is_a_submission(folder):
    benchmark = mmvet(folder)
    assert not benchmark.is_scored
    assert {benchmark.score(s, PREDICTIONS[s.id]) for s in benchmark.samples()} == {0}
    name, contents = benchmark.submission(predicted(benchmark, PREDICTIONS))
    assert name == "submission.json"
    assert json.loads(contents) == PREDICTIONS


def test_scores_of_a_judge(folder):
    with judge_server(Script(grade)) as script:
        benchmark = judged(folder, script)
        assert benchmark.is_scored
        answers = answered(benchmark, PREDICTIONS.values())
    assert [a.score for a in answers] == [1, 1, 0, 0.4, 0]
    metric = METRICS["mm_vet"]
    assert metric.of(answers) == pytest.approx(2.4 / 5)
    assert metric.by_kind(answers) == pytest.approx({"rec": 0.2, "ocr": 0.6, "know": 0, "math": 2 / 3})
    assert len(script.asked) == 5
    question = script.asked[0]["messages"][0]["content"]
    assert question.endswith("| 1.0\n" + MARKED["v1_0"])
    assert "<AND>" in question.split("\n")[0]
    table = [line.split(" | ") for line in question.split("\n")[2:-1]]
    assert table[0] == ["Question", "Ground truth", "Prediction", "Correctness"]
    assert [line[-1] for line in table[2:]] == ["0.0", "0.5", "0.5", "0.5", "1.0", "0.4", "1.0"]
    assert all(len(line) == 4 for line in table)


def test_nonsense_is_asked_about_once_more(tmp_path):
    folder = write_llava(tmp_path)
    with judge_server(Script(["I would say 0.5", "0.5"])) as script:
        benchmark = judged(folder, script)
        assert benchmark.score(benchmark.samples()[2], "11") == 0.5
    first, second = (asked["messages"][0]["content"] for asked in script.asked)
    assert second.startswith(first)
    assert second.endswith("a number from 0.0 to 1.0: ")


@pytest.mark.parametrize(
    ("reply", "score"), [("0.5 |", 0.5), ("0.5.", 0.5), ("1.", 1.0), (".5", 0.5), ("0 |", 0.0), ("1.0", 1.0)]
)
def test_a_score_with_the_end_of_a_sentence_or_a_row(tmp_path, reply, score):
    with judge_server(Script([reply])) as script:
        benchmark = judged(write_llava(tmp_path), script)
        assert benchmark.score(benchmark.samples()[0], "anything") == score


@pytest.mark.parametrize("reply", ["", "1.5", "-0.5", "nan", "1 of 2", "0.5 or 1.0", "½", "٠"])
def test_nonsense_twice_is_an_error(tmp_path, reply):
    folder = write_llava(tmp_path)
    with judge_server(Script([reply] * 2)) as script:
        benchmark = judged(folder, script)
        with pytest.raises(UserError) as caught:
            benchmark.score(benchmark.samples()[2], "11")
    assert str(caught.value) == (
        f"sample v1_2: the judge grader-1 replied {reply!r} and then {reply!r}; expected a number from 0 to 1"
    )


def test_an_endpoint_that_fails_names_the_sample(tmp_path):
    folder = write_llava(tmp_path)
    with judge_server(Script([500] * 3)) as script:
        benchmark = judged(folder, script)
        with pytest.raises(
            UserError, match=r"sample v1_2: no reply from the judge at .* in 3 tries: HTTP 500"
        ):
            benchmark.score(benchmark.samples()[2], "11")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("llava-mm-vet.jsonl", '"question_id": 97', '"question_id": 71', "duplicate ids v1_71"),
        (
            "llava-mm-vet.jsonl",
            '"question_id": 97',
            '"question_id": 500',
            "mm-vet.json: no 'v1_500' among v1_0",
        ),
        ("llava-mm-vet.jsonl", '"question_id": 97}', "", "jsonl, line 4: not JSON"),
        ("llava-mm-vet.jsonl", "v1_97.jpg", "../../x.jpg", "line 4: '../../x.jpg' leads out of"),
        (
            "mm-vet.json",
            '"rec", "know"',
            '"rec", "smell"',
            r"question v1_71: capability=.*: expected some of rec",
        ),
        ("mm-vet.json", '"rec", "know"', "", r"question v1_71: capability=\[\]: expected some of rec"),
        ("mm-vet.json", '"gimbap"', "5", "question v1_71: answer=5: expected str"),
    ],
)
def test_files_that_are_not_right(tmp_path, file, old, new, message):
    path = write_llava(tmp_path) / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=message):
        mmvet(tmp_path).samples()


def test_an_image_that_is_missing(tmp_path):
    (write_llava(tmp_path) / "images" / "v1_71.jpg").unlink()
    with pytest.raises(DataError, match=r"v1_71.jpg is missing"):
        mmvet(tmp_path).samples()[4].visual()


def test_end_to_end(tmp_path, folder):
    process = run_benchmark("mmvet", tmp_path, f"data={folder.parent}", "batch_size=8")
    run_dir, result, records = finished(process)
    assert result["accuracy"] is None
    assert "not scored" in process.stdout
    assert json.loads((run_dir / "submission.json").read_text()) == {
        r["id"]: r["prediction"] for r in records
    }
    # whoever will judge: it is the same run
    again = run_benchmark(
        "mmvet", tmp_path, f"data={folder.parent}", "batch_size=8", "benchmark.judge.model=mine"
    )
    assert finished(again)[0] == run_dir
    # the run can be judged later, with nothing but its samples
    with judge_server(Script(lambda question: "0.5")) as script:
        benchmark = judged(folder, script)
        samples = {sample.id: sample for sample in benchmark.samples()}
        assert [benchmark.score(samples[r["id"]], r["answer"]) for r in records] == [0.5] * 5
    assert all(
        KEY not in path.read_text() for path in run_dir.iterdir() if path.suffix in (".json", ".yaml", ".log")
    )


def test_a_run_does_not_judge(tmp_path):
    write_llava(tmp_path / "data" / "mm-vet")
    with judge_server(Script(["0.5"] * 9)) as script:
        process = run_benchmark(
            "mmvet", tmp_path, f"data={tmp_path / 'data'}", f"benchmark.judge.url={script.url}",
            "benchmark.judge.key_variable=JUDGE_KEY",
        )  # fmt: skip
    assert process.returncode == 2
    assert process.stderr == (
        f"error: benchmark.judge.url={script.url}: expected null in a run; "
        "runners/score.py grades its answers with the judge\n"
    )
    assert not script.asked
    process = run_benchmark(
        "mmvet", tmp_path, f"data={tmp_path / 'data'}", f"benchmark.judge.url={script.url}",
        f"benchmark.judge.key_variable={KEY}",
    )  # fmt: skip
    assert process.returncode == 2
    assert process.stderr.startswith(
        "error: benchmark.judge.key_variable=...: expected the name of an environment"
    )
    assert KEY not in process.stdout + process.stderr
    assert not (tmp_path / "outputs").exists()
