"""The run directory: identity, lock, torn lines, and atomic writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest
from sample_record import RECORD

from script_exp.errors import UserError
from script_exp.results.files import read_json, write_atomically, write_json
from script_exp.results.read import load_samples
from script_exp.results.run_directory import RunDirectory, RunIsBusyError, identity_hash, set_aside

IDS = ["a", "b", "c"]


@pytest.fixture
def directory(tmp_path):
    with RunDirectory(tmp_path / "run") as opened:
        opened.start("budget: 64\n", {"budget": 64}, {"host": "here"})
        yield opened


def test_identity_does_not_depend_on_the_order_of_keys():
    assert identity_hash({"a": 1, "b": 2}) == identity_hash({"b": 2, "a": 1})
    assert identity_hash({"a": 1}) != identity_hash({"a": 2})


def test_identity_does_not_depend_on_how_a_number_is_written():
    assert identity_hash({"a": {"b": [1.0, 2]}}) == identity_hash({"a": {"b": [1, 2.0]}})
    assert identity_hash({"a": 1}) != identity_hash({"a": 1.5})


def test_records_come_back(directory):
    records = [RECORD, replace(RECORD, id="b", score=0.0)]
    directory.append(records[:1])
    directory.append(records[1:])
    assert list(directory.answered(IDS).values()) == records


def test_a_torn_last_line_is_cut_off(directory):
    directory.append([RECORD])
    whole = directory.samples_file.read_bytes()
    for cut in (1, len(whole) // 2, len(whole) - 1):
        directory.samples_file.write_bytes(whole + whole[:cut])
        assert list(directory.answered(IDS)) == ["a"]
        assert directory.samples_file.read_bytes() == whole


def test_a_damaged_line_is_named(directory):
    directory.append([RECORD])
    directory.samples_file.write_text("{}\n" + directory.samples_file.read_text())
    with pytest.raises(UserError, match=r"samples\.jsonl, line 1 is damaged"):
        directory.answered(IDS)


def test_samples_of_another_benchmark_are_not_mixed_in(directory):
    directory.append([replace(RECORD, id="z")])
    with pytest.raises(UserError, match="unknown sample 'z'"):
        directory.answered(IDS)


def test_a_second_process_names_the_owner_and_leaves(directory):
    code = (
        "import sys; from pathlib import Path; from script_exp.results.run_directory import RunDirectory\n"
        "RunDirectory(Path(sys.argv[1])).__enter__()"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, str(directory.path)], capture_output=True, text=True, check=False
    )
    owner = json.loads((directory.path / "status.json").read_text())
    assert other.returncode == 1
    assert f"is in use: process {owner['pid']} on {owner['host']} is running it" in other.stderr


def test_a_file_is_complete_or_not_there(tmp_path):
    file = tmp_path / "result.json"
    write_json(file, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(file, {"a": float("nan")})
    assert read_json(file) == {"a": 1}
    with pytest.raises(UnicodeEncodeError):
        write_atomically(file, "\ud800")
    assert read_json(file) == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_damaged_result_is_named(directory):
    for content in ("", "{", "[]", '{"cell": 1}', '{"schema_version": 5, "cell": {}}', "\x00"):
        directory.result_file.write_text(content)
        with pytest.raises(UserError, match=r"result\.json is damaged"):
            directory.finished_result()
    directory.result_file.write_text('{"schema_version": 99}')
    with pytest.raises(UserError, match="has schema version 99; expected"):
        directory.finished_result()


def test_every_process_that_worked_on_it_is_on_record(directory):
    directory.start("budget: 64\n", {"budget": 64}, {"host": "there"})
    assert [session["host"] for session in directory.sessions()] == ["here", "there"]


def test_line_separators_in_a_prediction_do_not_end_the_line(directory):
    record = replace(RECORD, prediction="one\u2028two\u0085three\x0cfour")
    directory.append([record])
    assert list(directory.answered(IDS).values()) == [record]
    assert load_samples(directory.path).loc["a", "prediction"] == record.prediction


def test_bytes_that_are_no_text_are_named(directory):
    directory.append([RECORD])
    directory.samples_file.write_bytes(b"\xff\xfe\n" + directory.samples_file.read_bytes())
    with pytest.raises(UserError, match="line 1 is damaged"):
        directory.answered(IDS)


def test_others_can_read_what_was_written(directory):
    assert (directory.path / "status.json").stat().st_mode & 0o777 == 0o666 & ~umask()


def umask():
    current = os.umask(0)
    os.umask(current)
    return current


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"outputs: cannot write to .*expected a writable folder"):
        RunDirectory(tmp_path / "file" / "run").__enter__()


def test_a_run_is_not_set_aside_under_a_running_shard(tmp_path):
    outputs = tmp_path / "outputs"
    place = outputs / "tiny" / "shapes" / "script-1"
    with RunDirectory(place).shard(0, 2), pytest.raises(RunIsBusyError):
        set_aside(place, outputs)
    for number in (1, 2):
        place.mkdir(exist_ok=True)
        assert set_aside(place, outputs) == outputs / "replaced" / "tiny" / "shapes" / f"script-1.{number}"
    (outputs / "replaced" / "tiny" / "shapes" / "script-1.1").rename(tmp_path / "elsewhere")
    place.mkdir()
    assert set_aside(place, outputs).suffix == ".3"
    assert set_aside(place, outputs) is None


def test_a_process_that_is_about_to_leave_is_waited_for(tmp_path):
    code = (
        "import sys; from pathlib import Path; from script_exp.results.run_directory import RunDirectory\n"
        "with RunDirectory(Path(sys.argv[1])):\n    print('in', flush=True)\n    input()"
    )
    leaving = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert leaving.stdout.readline() == b"in\n"
    with pytest.raises(RunIsBusyError), RunDirectory(tmp_path):
        pass
    threading.Timer(0.2, leaving.communicate, [b"\n"]).start()
    with RunDirectory(tmp_path, patience=20):
        assert leaving.wait(timeout=20) == 0
