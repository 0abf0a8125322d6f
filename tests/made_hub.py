"""A made hub on the loopback address: repositories of a few files, and what can go wrong with them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c" * 40


@dataclass
class Hub:
    """The server.

    Attributes:
        files: contents by repository (``datasets/OWNER/NAME`` or ``OWNER/NAME``) and file name.
        gated: repositories whose files are refused.
        left: bytes of files that are sent before connections break; None for no end.
        lost: bytes that each file is shorter than the hub says.
        changed: whether other bytes come than the hub says.
        requests: method, path and headers of every request for a file.
    """

    url: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    left: int | None = None
    lost: int = 0
    changed: bool = False
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def gets(self) -> list[tuple[str, dict[str, str]]]:
        """Name and headers of every file that was asked for."""
        return [
            (path.rsplit("/", 1)[1], headers) for method, path, headers in self.requests if method == "GET"
        ]


@contextmanager
def made_hub() -> Iterator[Hub]:
    hub = Hub()

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path).lstrip("/")
        if path.startswith("api/"):
            name = path.removeprefix("api/").removeprefix("models/").split("/revision/")[0]
            return self._describe(name)
        name, _, rest = path.partition("/resolve/")
        headers = {key.lower(): value for key, value in self.headers.items()}
        self.state.requests.append((self.command, path, headers))
        return self._file(name, rest.partition("/")[2])

    def _describe(self, name: str) -> None:
        if name not in self.state.files:
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"})
        siblings = [
            {
                "rfilename": file, "size": len(data), "blobId": hashlib.sha1(data).hexdigest(),
                "lfs": {"size": len(data), "sha256": hashlib.sha256(data).hexdigest(), "pointerSize": 1},
            }
            for file, data in self.state.files[name].items()
        ]  # fmt: skip
        about: dict[str, Any] = {
            "_id": "1", "id": name.removeprefix("datasets/"), "sha": COMMIT, "private": False,
            "gated": "auto" if name in self.state.gated else False, "siblings": siblings,
            "cardData": {"license": "cc-by-4.0"}, "tags": [], "downloads": 0, "likes": 0,
        }  # fmt: skip
        return self._send(200, json.dumps(about).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str, file: str) -> None:
        if name in self.state.gated:
            return self._send(
                403, b"{}", {"X-Error-Code": "GatedRepo", "X-Error-Message": "accept the terms"}
            )
        data = self.state.files[name].get(file)
        if data is None:
            return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound"})
        headers = {
            "ETag": f'"{hashlib.sha1(data).hexdigest()}"',
            "X-Repo-Commit": COMMIT,
            "Accept-Ranges": "bytes",
        }
        if self.command == "HEAD":
            return self._send(200, data, headers)
        data = data[: len(data) - self.state.lost]
        data = bytes(len(data)) if self.state.changed else data
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        return self._send(206 if start else 200, data[start:], headers)

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        left = self.state.left
        if left is not None and "ETag" in headers and len(body) > left:
            body, self.state.left, self.close_connection = body[:left], 0, True
        self.wfile.write(body)
