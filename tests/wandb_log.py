"""Read a W&B offline file: the package has had no reader since 0.30.

The file is a 7-byte header, then 32 KiB blocks of records in LevelDB's log format, each a protobuf message.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

_BLOCK, _HEADER = 32768, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4


@dataclass
class WandbLog:
    name: str = ""
    group: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    exit_code: int | None = None


def read_wandb(path: Path) -> WandbLog:
    log = WandbLog()
    for data in _records(path.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            log.name, log.group = record.run.display_name, record.run.run_group
            log.tags = list(record.run.tags)
            log.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
        elif kind == "config":
            log.config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "summary":
            log.summary |= {_key(item): json.loads(item.value_json) for item in record.summary.update}
        elif kind == "history":
            log.history.append({_key(item): json.loads(item.value_json) for item in record.history.item})
        elif kind == "exit":
            log.exit_code = record.exit.exit_code
    return log


def _key(item: Any) -> str:
    return item.key or ".".join(item.nested_key)


def _records(data: bytes) -> Iterator[bytes]:
    position, parts = 7, []
    while position + _HEADER <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + _HEADER])
        parts.append(data[position + _HEADER : position + _HEADER + length])
        position += _HEADER + length
        if kind in (_FULL, _LAST):
            yield b"".join(parts)
            parts = []
