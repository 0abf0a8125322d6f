"""A local chat-completions endpoint with scripted answers."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEY = "sk-secret-0123456789"


@dataclass
class Script:
    """What the endpoint does, and what it was asked.

    Attributes:
        replies: what to say, in order, or a function of the question; a number is an HTTP status.
        slow: seconds before a reply.
        needs_key: whether the key has to be there.
        raw: the body of replies, in place of a chat completion.
    """

    replies: list[str | int] | Callable[[str], str]
    slow: float = 0
    needs_key: bool = True
    raw: bytes | None = None
    asked: list[dict] = field(default_factory=list)
    url: str = ""


@contextmanager
def judge_server(script: Script) -> Iterator[Script]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            script.asked.append(body)
            given = self.headers.get("Authorization")
            if self.path != "/v1/chat/completions":
                return self.reply(404, b"no such page")
            if script.needs_key and given != f"Bearer {KEY}":
                return self.reply(401, f"wrong key: {given}".encode())
            time.sleep(script.slow)
            question = body["messages"][0]["content"]
            said = script.replies(question) if callable(script.replies) else script.replies.pop(0)
            if isinstance(said, int):  # and it repeats the key, as some do
                return self.reply(said, f"not now, {given}".encode())
            completion = {"choices": [{"message": {"role": "assistant", "content": said}}]}
            return self.reply(200, json.dumps(completion).encode() if script.raw is None else script.raw)

        def reply(self, status, contents):
            self.send_response(status)
            self.send_header("Content-Length", str(len(contents)))
            self.end_headers()
            with suppress(OSError):  # who asked may not have waited
                self.wfile.write(contents)

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    script.url = f"http://127.0.0.1:{server.server_port}/v1/chat/completions"
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
