"""VQA v2 in miniature, as in the official files, on the hub and in LLaVA, with possible answers."""

from __future__ import annotations

from official import SHORT, cell, write_json, write_jsonl, write_parquet, write_picture

ROWS = [  # question id, image id, question, answer type, answers
    (
        262148000,
        262148,
        "Where is he looking?",
        "other",
        ["down"] * 4 + ["at table"] * 3 + ["skateboard"] * 3,
    ),
    (262148001, 262148, "What is on the T-shirt?", "other", ["the logo"] * 2 + ["nike's"] * 8),
    (393225001, 393225, "How many are there?", "number", ["two"] * 1 + ["2"] * 2 + ["3"] * 7),
    (393225002, 393225, "Is it sunny?", "yes/no", ["yes"] * 10),
]
PREDICTIONS = {"262148000": "At the table.", "262148001": "Logo", "393225001": "Two.", "393225002": "Yes"}


def answers(texts):
    return [
        {"answer": text, "answer_confidence": "yes", "answer_id": turn}
        for turn, text in enumerate(texts, start=1)
    ]


def write_official(folder):
    questions = [
        {"image_id": image, "question": text, "question_id": number} for number, image, text, _, _ in ROWS
    ]
    write_json(
        folder / "v2_OpenEnded_mscoco_val2014_questions.json",
        {"info": {}, "task_type": "Open-Ended", "data_type": "mscoco", "license": {}, "questions": questions},
    )
    annotations = [
        {
            "question_type": "what", "multiple_choice_answer": texts[-1], "answers": answers(texts),
            "image_id": image, "answer_type": kind, "question_id": number,
        }
        for number, image, _, kind, texts in ROWS[::-1]
    ]  # fmt: skip
    write_json(folder / "v2_mscoco_val2014_annotations.json", {"info": {}, "annotations": annotations})
    for image in {row[1] for row in ROWS}:
        write_picture(folder / "val2014" / f"COCO_val2014_{image:012d}.jpg")
    return folder


def write_hub(folder, split="validation"):
    rows = [
        {
            "question_type": "what", "multiple_choice_answer": texts[-1] if split == "validation" else None,
            "answers": answers(texts) if split == "validation" else None, "image_id": image,
            "answer_type": kind, "question_id": number, "question": text, "image": cell(str(image)),
        }
        for number, image, text, kind, texts in ROWS
    ]  # fmt: skip
    write_parquet(folder / "data" / f"{split}-00000-of-00001.parquet", rows)
    return folder


def write_llava(folder):
    lines = [
        {
            "question_id": number,
            "image": f"COCO_test2015_{image:012d}.jpg",
            "text": text + SHORT,
            "category": "default",
        }
        for number, image, text, _, _ in ROWS
    ]
    write_jsonl(folder / "llava_vqav2_mscoco_test-dev2015.jsonl", lines)
    write_jsonl(folder / "llava_vqav2_mscoco_test2015.jsonl", [lines[0] | {"question_id": 7}, *lines])
    for line in lines:
        write_picture(folder / "test2015" / line["image"])
    return folder
