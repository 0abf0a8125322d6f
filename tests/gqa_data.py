"""GQA in miniature, as in LLaVA and on the hub, with possible answers."""

from __future__ import annotations

from official import SHORT, cell, write_json, write_jsonl, write_parquet, write_picture

ROWS = [  # id, image, question, answer, type
    ("201307251", "n161313", "Is it overcast?", "no", "verify"),
    ("201640614", "n161313", "Who is wearing the dress?", "woman", "query"),
    ("202225914", "n235859", "Are there coats to the left of the café?", "yes", "logical"),
    ("20602949", "n235859", "What is on the table?", "t-shirt", "query"),
    ("20602950", "n235860", "Which is it, a plane or a bird?", "plane", "choose"),
]
PREDICTIONS = ["No.", "The woman", "YES..", "T-shirt", " plane. "]


def write_llava(folder):
    lines = [
        {"question_id": name, "image": f"{image}.jpg", "text": question + SHORT, "category": "default"}
        for name, image, question, _, _ in ROWS
    ]
    write_jsonl(folder / "llava_gqa_testdev_balanced.jsonl", lines)
    questions = {
        name: {
            "semantic": [], "entailed": [], "equivalent": [name], "question": question, "imageId": image,
            "isBalanced": True, "groups": {"global": None, "local": "06-it"}, "answer": answer,
            "semanticStr": "", "annotations": {}, "fullAnswer": answer,
            "types": {"detailed": "exist", "semantic": "attr", "structural": kind},
        }
        for name, image, question, answer, kind in ROWS
    }  # fmt: skip
    write_json(folder / "data" / "testdev_balanced_questions.json", questions)
    for image in {row[1] for row in ROWS}:
        write_picture(folder / "data" / "images" / f"{image}.jpg")
    return folder


def write_hub(folder):
    images = [{"id": image, "image": cell(image)} for image in sorted({row[1] for row in ROWS})]
    write_parquet(folder / "testdev_balanced_images" / "testdev-00000-of-00001.parquet", images)
    rows = [
        {
            "id": name, "imageId": image, "question": question, "answer": answer, "fullAnswer": answer,
            "isBalanced": True, "groups": {"global": None, "local": "06-it"}, "entailed": None,
            "equivalent": f"['{name}']", "semantic": [], "semanticStr": "",
            "types": {"structural": kind, "semantic": "attr", "detailed": "exist"},
        }
        for name, image, question, answer, kind in ROWS
    ]  # fmt: skip
    write_parquet(folder / "testdev_balanced_instructions" / "testdev-00000-of-00001.parquet", rows)
    return folder
