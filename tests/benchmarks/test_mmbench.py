"""MMBench: circular evaluation, both languages and sources, and the server's table."""

from __future__ import annotations

import base64
import csv
import io
import zipfile

import numpy as np
import openpyxl
import pytest
from official import answered, cell, finished, predicted, run_benchmark, scores, write_parquet
from PIL import Image

from script_exp.benchmarks import METRICS
from script_exp.benchmarks.mmbench import MmBench, MmBenchCn
from script_exp.errors import DataError, UserError

LETTER = "\nAnswer with the option's letter from the given choices directly."
# a cell with line breaks, tabs and quotes
PYTHON = 'What does the code print?\n\tfor x in range(2):\n\t\tprint("é")'
COLUMNS = [
    "index", "question", "hint", "A", "B", "C", "D", "answer", "category", "image", "source", "l2-category",
    "comment", "split",
]  # fmt: skip
TOPIC, CODE = (
    ("image_topic", "coarse_perception"),
    ("structuralized_imagetext_understanding", "logic_reasoning"),
)
IDENTITY = ("identity_reasoning", "attribute_reasoning")
PLACE = ("object_localization", "finegrained_perception (instance-level)")
ROWS = [  # index, question, hint, choices, answer, category, ability
    (241, "Which is the main topic?", "", ["Driving", "River", "Cooking"], "A", *TOPIC),
    (252, PYTHON, "", ["é é", "e", "x", "1"], "A", *CODE),
    (260, "Identify the question that fits.", "Read the text.\nFigure: bread.", ["Yeast?", "Salt?"], "B",
     *IDENTITY),
    (300, "Where is the cat?", "", ["left", "right"], "B", *PLACE),
    (1000241, "Which is the main topic?", "", ["Cooking", "Driving", "River"], "B", *TOPIC),
    (2000241, "Which is the main topic?", "", ["River", "Cooking", "Driving"], "C", *TOPIC),
    (1000252, PYTHON, "", ["1", "é é", "e", "x"], "B", *CODE),
    (1000260, "Identify the question that fits.", "Read the text.\nFigure: bread.", ["Salt?", "Yeast?"], "A",
     *IDENTITY),
    (1000300, "Where is the cat?", "", ["right", "left"], "A", *PLACE),
]  # fmt: skip
PREDICTIONS = {
    241: "A", 1000241: "B.", 2000241: "The answer is (C).",  # right in all three
    252: "A", 1000252: "A. 1",  # right, and wrong when rotated
    260: "It asks about salt?", 1000260: "(A) Salt?",  # by the choice's text; by the letter
    300: "right", 1000300: "It is a cat on the right or the left",  # by the text; both texts: neither
}  # fmt: skip
ANSWERS = {241: "A", 1000241: "B", 2000241: "C", 252: "A", 1000252: "A", 260: "B", 1000260: "A", 300: "B",
           1000300: "other"}  # fmt: skip
BY_KIND = {
    "attribute_reasoning": 1, "coarse_perception": 1, "finegrained_perception (instance-level)": 0,
    "logic_reasoning": 0,
    "attribute_reasoning/identity_reasoning": 1, "coarse_perception/image_topic": 1,
    "finegrained_perception (instance-level)/object_localization": 0,
    "logic_reasoning/structuralized_imagetext_understanding": 0,
}  # fmt: skip


def row(index, question, hint, choices, answer, category, ability, missing=""):
    padded = [*choices, *[missing] * (4 - len(choices))]
    return {
        "index": index, "question": question, "hint": hint or missing,
        **dict(zip("ABCD", padded, strict=True)), "answer": answer, "category": category,
        "source": "reasoning", "comment": missing, "split": "dev",
    }, ability  # fmt: skip


def tsv(rows):
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, delimiter="\t", lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()


def official_rows():
    rows = []
    for values in ROWS:
        content, ability = row(*values)
        image = base64.b64encode(cell(str(values[0] % 1_000_000))["bytes"]).decode()
        rows.append(content | {"l2-category": ability, "image": image})
    return rows


def write_llava(folder, name="mmbench_dev_20230712.tsv"):
    folder.mkdir(parents=True)
    (folder / name).write_text(tsv(official_rows()), encoding="utf-8")
    return folder


def write_hub(folder, language="en"):
    rows = []
    for values in ROWS:
        content, ability = row(*values, missing="nan")
        index = str(values[0]) if language == "en" else values[0]  # as the hub has it
        image = cell(str(values[0] % 1_000_000))
        rows.append(content | {"index": index, "L2-category": ability, "image": image})
    write_parquet(folder / language / "dev-00000-of-00001.parquet", rows)
    return folder


@pytest.fixture(params=[write_llava, write_hub])
def folder(request, tmp_path):
    return request.param(tmp_path / "data" / "mmbench")


def mmbench(folder, **settings):
    return MmBench(**{"data": str(folder), "check_count": False} | settings)


def by_index(benchmark):
    return {int(sample.id): sample for sample in benchmark.samples()}


def test_samples(folder):
    samples = mmbench(folder).samples()
    assert [(int(s.id), *s.references, s.kind) for s in samples] == [
        (index, answer, f"{ability}/{category}") for index, _, _, _, answer, category, ability in ROWS
    ]
    assert [s.unit for s in samples] == ["241", "252", "260", "300", "241", "241", "252", "260", "300"]
    sample = by_index(mmbench(folder))[260]
    assert sample.question == (
        "Read the text.\nFigure: bread.\nIdentify the question that fits.\nA. Yeast?\nB. Salt?"
    )
    assert sample.prompt == sample.question + LETTER
    assert by_index(mmbench(folder))[252].prompt == PYTHON + "\nA. é é\nB. e\nC. x\nD. 1" + LETTER
    assert [s.visual().size for s in samples] == [(40, 30)] * len(ROWS)
    assert np.array_equal(samples[0].visual(), samples[4].visual())
    assert mmbench(folder).max_new_tokens == 1024


def test_the_prompts_of_lmms_eval(folder):
    samples = by_index(mmbench(folder, protocol="lmms"))
    assert samples[260].prompt == (
        "Read the text.\nFigure: bread. Identify the question that fits. There are several options:\n"
        "A. Yeast?\nB. Salt?\n" + LETTER
    )
    assert samples[300].prompt == "Where is the cat? There are several options:\nA. left\nB. right\n" + LETTER


def test_scores(folder):
    benchmark = mmbench(folder)
    samples = by_index(benchmark)
    assert {index: benchmark.parse(samples[index], text) for index, text in PREDICTIONS.items()} == ANSWERS
    assert scores(benchmark, {str(index): text for index, text in PREDICTIONS.items()}) == {
        str(index): float(ANSWERS[index] == samples[index].references[0]) for index in samples
    }
    answers = answered(benchmark, [PREDICTIONS[index] for index in samples])
    metric = METRICS["circular_accuracy"]
    assert metric.of(answers) == 2 / 4  # 241 and 260; of the rows 7 of 9 are right
    assert metric.by_kind(answers) == BY_KIND
    # The bootstrap draws questions with their rotations: 241 twice, 252 and 300 once
    drawn = np.array([2, 1, 0, 1]) @ metric.by_unit(answers)
    assert metric.value(drawn) == 2 / 4


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"), ("B.", "B"), ("B,", "B"), ("B:", "B"), ("B) right", "B"), ("(B)", "B"), ("(B).", "B"),
        ("Answer :B", "B"), ("the answer is B", "B"), ("A", "A"), ("answer is A", "A"),
        ("A or B", "other"), ("A dog is there", "other"), ("A dog is there, so (B)", "B"), ("b", "other"),
        ("E", "E"), ("", "other"), ("LEFT side", "A"), ("left and right", "other"),
        ("A. left B. right", "other"),
    ],
)  # fmt: skip
def test_the_letter_of_an_answer(tmp_path, text, letter):
    benchmark = mmbench(write_llava(tmp_path / "data"))
    assert benchmark.parse(by_index(benchmark)[300], text) == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("B", "B"), ("A dog is there", "A"), ("answer: b", "other"), ("A or B", "A"), ("LEFT side", "A"),
        ("left and right", "other"), ("The answer is D", "D"), ("banana right", "other"), ("", "other"),
    ],
)  # fmt: skip
def test_the_letter_of_an_answer_in_lmms_eval(folder, text, letter):
    """As ``mmbench_en_dev_static`` of 0.7.3: "banana" also has the text of the missing choices, "nan"."""
    benchmark = mmbench(folder, protocol="lmms")
    assert benchmark.parse(by_index(benchmark)[300], text) == letter
    assert (benchmark.rule_version, mmbench(folder).rule_version) == (2, 1)


def test_the_table_for_the_server(folder):
    benchmark = mmbench(folder)
    said = {str(index): text for index, text in PREDICTIONS.items() if index != 300}  # 300 was skipped
    said["252"] = "=1+1 \x0b \x00"  # neither a formula nor a broken file
    name, contents = benchmark.submission(predicted(benchmark, said))
    assert name == "submission.xlsx"
    sheet = openpyxl.load_workbook(io.BytesIO(contents)).active
    header, *rows = sheet.iter_rows(values_only=True)
    assert header == ("index", "question", "A", "B", "C", "D", "prediction", "answer", "split")
    assert [line[0] for line in rows] == [values[0] for values in ROWS]
    by_row = {line[0]: line[1:] for line in rows}
    assert by_row[2000241] == (
        "Which is the main topic?", "River", "Cooking", "Driving", None, "The answer is (C).", "C", "dev",
    )  # fmt: skip
    assert by_row[252] == (PYTHON, "é é", "e", "x", "1", "=1+1 _x000B_ _x0000_", "A", "dev")
    assert sheet.cell(3, 7).data_type == "s"
    assert by_row[300][5] is None
    # the same answers make the same file at any time
    assert benchmark.submission(predicted(benchmark, said))[1] == contents
    assert {part.date_time for part in zipfile.ZipFile(io.BytesIO(contents)).infolist()} == {
        (1980, 1, 1, 0, 0, 0)
    }


def test_chinese(tmp_path):
    files = write_llava(tmp_path / "llava", "mmbench_dev_cn_20231003.tsv")
    hub = write_hub(tmp_path / "hub", "cn")
    for folder in (files, hub):
        sample = MmBenchCn(data=str(folder), check_count=False).samples()[3]
        assert sample.prompt == "Where is the cat?\nA. left\nB. right\n请直接回答选项字母。"
        benchmark = MmBenchCn(data=str(folder), check_count=False, protocol="lmms")
        assert benchmark.samples()[3].prompt == (
            "nan Where is the cat? There are several options:\nA. left\nB. right\n\n"
            "请直接使用所提供的选项字母作为答案回答。"
        )
        assert benchmark.samples()[2].prompt.startswith(
            "Read the text.\nFigure: bread. Identify the question that fits. There are several options:\n"
        )
        assert (benchmark.prompt_version, MmBenchCn(data=str(folder)).prompt_version) == (2, 1)
        assert benchmark.max_new_tokens == 256
        with pytest.raises(UserError, match=r"9 samples, but the official files have 4329"):
            MmBenchCn(data=str(folder)).samples()
    with pytest.raises(UserError, match=r"expected a folder with mmbench_dev_20230712.tsv or en/dev-"):
        mmbench(files).samples()


def test_the_official_counts(tmp_path):
    for folder, count in ((write_llava(tmp_path / "llava"), 4377), (write_hub(tmp_path / "hub"), 4329)):
        with pytest.raises(UserError, match=f"9 samples, but the official files have {count}"):
            mmbench(folder, check_count=True).samples()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"index": "1e6"}, r"line 2: index=1e6: expected a whole number"),
        ({"index": "5000777"}, "row 5000777 is a rotation of 777, which is missing"),
        ({"answer": "E"}, "line 2: answer=E: expected one of A, B, C, D"),
        ({"answer": ""}, "line 2: answer=: expected one of A, B, C, D"),
        ({"l2-category": "taste"}, "line 2: l2-category=taste: expected one of attribute_reasoning"),
        ({"A": "nan"}, "line 2: expected texts in the columns A, B, C, D"),
    ],
)
def test_rows_that_are_not_right(tmp_path, change, message):
    rows = official_rows()
    rows[0] |= change
    (tmp_path / "mmbench_dev_20230712.tsv").write_text(tsv(rows), encoding="utf-8")
    with pytest.raises(UserError, match=message):
        mmbench(tmp_path).samples()


@pytest.mark.parametrize(
    ("choices", "llava", "lmms"),
    [(("K", "Mg", "Ca", "Na"), "ABCD", "ABCD"), (("none", "both", "", ""), "", "AB"),
     (("1", "None", "3", "NA"), "A", "ABCD"), (("1", "", "3", "nan"), "A", "AC")],
)  # fmt: skip
def test_choices_that_read_as_nothing(tmp_path, choices, llava, lmms):
    """Sodium is a choice; LLaVA's list ends at the first cell that pandas takes for nothing."""
    rows = official_rows()
    rows[0] |= dict(zip("ABCD", choices, strict=True), answer="B")
    (tmp_path / "mmbench_dev_20230712.tsv").write_text(tsv(rows), encoding="utf-8")
    for protocol, letters in (("llava", llava), ("lmms", lmms)):
        if not letters:
            with pytest.raises(UserError, match="expected texts in the columns A, B, C, D"):
                mmbench(tmp_path, protocol=protocol).samples()
            continue
        sample = mmbench(tmp_path, protocol=protocol).samples()[0]
        assert "".join(sample.extra["choices"]) == letters
        shown = dict(zip("ABCD", choices, strict=True))
        assert "\n".join(f"{letter}. {shown[letter]}" for letter in letters) in sample.prompt
        assert mmbench(tmp_path, protocol=protocol).score(sample, "B") == 1.0  # B, whether it is shown or not


def test_duplicate_rows(tmp_path):
    rows = official_rows()
    (tmp_path / "mmbench_dev_20230712.tsv").write_text(tsv([*rows, rows[1]]), encoding="utf-8")
    with pytest.raises(UserError, match="duplicate ids 252"):
        mmbench(tmp_path).samples()


def test_a_table_that_is_cut_off(tmp_path):
    file = write_llava(tmp_path / "data") / "mmbench_dev_20230712.tsv"
    text = file.read_text()
    # two questions have three lines and two hints two, so that the last of the nine rows is in line 16
    file.write_text(text[: text.rindex("\tdev")])
    with pytest.raises(UserError, match=r"tsv, line 16: 13 cells, but line 1 names 14 columns"):
        mmbench(tmp_path / "data").samples()
    file.write_text(text.replace("l2-category", "ability", 1))
    with pytest.raises(UserError, match=r"tsv, line 2: no 'l2-category' among index, question"):
        mmbench(tmp_path / "data").samples()
    file.write_text("")
    with pytest.raises(UserError, match="no samples"):
        mmbench(tmp_path / "data").samples()


def test_large_and_broken_images(tmp_path):
    rows = official_rows()
    large = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (300, 300, 3), dtype=np.uint8)
    Image.fromarray(noise).save(large, "PNG")
    assert len(large.getvalue()) > 200_000  # more than a cell may hold where nobody says otherwise
    rows[0]["image"] = base64.b64encode(large.getvalue()).decode()
    rows[1]["image"] = rows[1]["image"][:400]
    rows[2]["image"] = "not base64!"
    (tmp_path / "mmbench_dev_20230712.tsv").write_text(tsv(rows), encoding="utf-8")
    limit = csv.field_size_limit()
    samples = mmbench(tmp_path).samples()
    assert csv.field_size_limit() == limit
    assert samples[0].visual().size == (300, 300)
    with pytest.raises(DataError, match=r"tsv, line 5: the image does not decode"):
        samples[1].visual()
    with pytest.raises(DataError, match=r"tsv, line 7: the image does not decode"):
        samples[2].visual()


@pytest.mark.parametrize(
    ("name", "write", "part"),
    [("mmbench", write_llava, "mmbench_dev_20230712.tsv"), ("mmbench_cn", write_hub, "cn")],
)
def test_end_to_end(tmp_path, name, write, part):
    folder = write(tmp_path / "data" / name, part)
    process = run_benchmark(name, tmp_path, f"data={folder.parent}")
    run_dir, result, records = finished(process)
    assert len(records) == result["accuracy"]["n"] == 9
    assert result["accuracy"]["metric"] == "circular_accuracy"
    assert result["accuracy"]["by_kind"].keys() == BY_KIND.keys()
    right = {
        unit: all(r["score"] for r in records if r["unit"] == unit) for unit in {r["unit"] for r in records}
    }
    assert result["accuracy"]["value"] == sum(right.values()) / 4
    sheet = openpyxl.load_workbook(run_dir / "submission.xlsx").active
    said = {str(line[0]): line[6] or "" for line in sheet.iter_rows(min_row=2, values_only=True)}
    assert said == {record["id"]: record["prediction"] for record in records}
