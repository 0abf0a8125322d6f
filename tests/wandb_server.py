"""A stand-in for W&B's server, on the loopback interface: what an upload sends is kept by run id."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

KEY = "k" * 40


@dataclass
class ReceivedRun:
    """What the server knows of one run, as the last of its uploads left it."""

    variables: dict[str, Any] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    lines: dict[int, dict[str, Any]] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_codes: list[int] = field(default_factory=list)

    @property
    def history(self) -> list[dict[str, Any]]:
        return [self.lines[number] for number in sorted(self.lines)]

    def table(self) -> dict[str, Any]:
        (name,) = [name for name in self.files if name.endswith(".table.json")]
        return json.loads(self.files[name])


@dataclass
class StandIn:
    """The server: ``status`` is its answer to everything, ``hangs`` that it never gives one."""

    url: str = ""
    status: int = 200
    hangs: bool = False
    requests: int = 0
    runs: dict[str, ReceivedRun] = field(default_factory=lambda: defaultdict(ReceivedRun))
    views: list[dict[str, Any]] = field(default_factory=list)

    def environment(self) -> dict[str, str]:
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY}


@contextmanager
def stand_in(status: int = 200, *, hangs: bool = False) -> Iterator[StandIn]:
    state = StandIn(status=status, hangs=hangs)

    class Handler(_Handler):
        server_state = state

    server = _Server(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield state
    finally:
        state.hangs = False
        server.shutdown()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Be silent: an upload that is killed breaks its connections."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_state: StandIn

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self._body())

    do_PUT = do_POST

    def _answer(self, body: bytes) -> None:
        state = self.server_state
        state.requests += 1
        while state.hangs:
            time.sleep(0.05)
        reply = self._reply(body) if state.status == 200 else {"error": "no"}
        data = json.dumps(reply).encode()
        self.send_response(state.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _reply(self, body: bytes) -> dict[str, Any]:
        runs = self.server_state.runs
        if self.path.startswith("/graphql"):
            return {"data": self._graphql(json.loads(body).get("variables") or {})}
        if "/upload/" in self.path:
            run_id, name = unquote(self.path).split("/upload/")[1].split("/", 1)
            runs[run_id].files[name] = body
        elif self.path.endswith("/file_stream"):
            _stream(runs[self.path.split("/")[-2]], json.loads(body))
        return {"limits": {}}

    def _graphql(self, variables: dict[str, Any]) -> dict[str, Any]:
        run_id = variables.get("name") or variables.get("run") or ""
        if "groupName" in variables:
            run = self.server_state.runs[run_id]
            given = {key: value for key, value in variables.items() if value is not None}
            run.variables |= given
            config = json.loads(given.get("config") or "{}")
            run.config |= {key: item["value"] for key, item in config.items() if "value" in item}
        if "spec" in variables:
            self.server_state.views.append(variables)
        project = {"id": "p", "name": "script-exp", "entity": {"id": "e", "name": "me"}}
        bucket = {
            "id": "UnVuOg==", "name": run_id, "displayName": run_id, "config": "{}", "summaryMetrics": None,
            "historyLineCount": 0, "eventsLineCount": 0, "logLineCount": 0, "sweepName": None,
            "project": project,
        }  # fmt: skip
        files = [
            {"name": name, "uploadUrl": f"{self.server_state.url}/upload/{run_id}/{name}"}
            for name in variables.get("files") or []
        ]
        return {
            "viewer": {"id": "v", "entity": "me", "flags": "{}", "teams": {"edges": []}},
            "serverInfo": {"features": [], "isFeatureFlagsEnabled": False},
            "upsertView": {"view": {"id": "w", "name": "nw-abc-v"}, "inserted": True},
            "upsertBucket": {"bucket": bucket, "inserted": True},
            "createRunFiles": {"runID": run_id, "uploadHeaders": [], "files": files},
        }

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().strip() or b"0", 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)


def _stream(run: ReceivedRun, sent: dict[str, Any]) -> None:
    files = sent.get("files") or {}
    if history := files.get("wandb-history.jsonl"):
        for number, line in enumerate(history["content"], start=history["offset"]):
            run.lines[number] = json.loads(line)
    if summary := files.get("wandb-summary.json"):
        run.summary = json.loads(summary["content"][-1])
    if sent.get("complete"):
        run.exit_codes.append(sent["exitcode"])
