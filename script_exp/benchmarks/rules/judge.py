"""A language model that grades answers, behind an OpenAI-compatible chat-completions endpoint."""

from __future__ import annotations

import http.client
import json
import os
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass

from script_exp.errors import SettingError, UserError, check_number, check_whole

_BUSY = (408, 409, 425, 429)  # retried, like every 5xx


@dataclass(frozen=True, kw_only=True)
class Judge:
    """Asks one question at a time, with greedy decoding. The key stays in its environment variable.

    Attributes:
        url: the endpoint, for example ``https://api.openai.com/v1/chat/completions``; None for no judge.
        model: name of the model at the endpoint; part of every score's record.
        key_variable: environment variable that holds the key; None to send no key.
        timeout: seconds to wait for a reply.
        tries: how often a question is sent if the endpoint is busy, fails or does not answer.
        wait: seconds before the second try; each further try waits twice as long.
    """

    url: str | None = None
    model: str = "gpt-4-0613"
    key_variable: str | None = "OPENAI_API_KEY"
    timeout: float = 60
    tries: int = 6
    wait: float = 2

    def __post_init__(self) -> None:
        check_whole("tries", self.tries, lowest=1)
        check_number("timeout", self.timeout, lambda value: value > 0, "seconds > 0")
        check_number("wait", self.wait, lambda value: value >= 0, "seconds >= 0")
        if not isinstance(self.model, str) or not self.model:
            raise SettingError("model", self.model, "the name of a model")
        self._check_key_variable()
        if self.url is not None:
            _check_address(self.url)
            self._key()

    def ask(self, question: str, max_tokens: int) -> str:
        """Return the reply.

        Raises:
            UserError: if the endpoint refuses, or there is no reply after all tries.
        """
        why = ""
        for turn in range(self.tries):
            if turn:
                time.sleep(self.wait * 2 ** (turn - 1))
            try:
                return self._ask_once(question, max_tokens)
            except urllib.error.HTTPError as error:
                why = f"HTTP {error.code} {self._public(_body(error))}"
                if error.code not in _BUSY and error.code < 500:
                    raise UserError(f"the judge at {self.url} refused: {why}") from None
            except (OSError, http.client.HTTPException) as error:
                why = self._public(str(error)) or type(error).__name__
        raise UserError(f"no reply from the judge at {self.url} in {self.tries} tries: {why}")

    def _ask_once(self, question: str, max_tokens: int) -> str:
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": question}],
            "temperature": 0,
            "max_tokens": max_tokens,
        }
        request = urllib.request.Request(
            str(self.url), json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        if key := self._key():
            request.add_unredirected_header("Authorization", f"Bearer {key}")
        with urllib.request.urlopen(request, timeout=self.timeout) as reply:
            content = reply.read()
        try:
            text = json.loads(content)["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            text = None
        if not isinstance(text, str):
            start = self._public(content[:200].decode(errors="replace"))
            raise UserError(f"{self.url} is not a chat-completions endpoint: it replied {start!r}")
        return text

    def _key(self) -> str | None:
        if self.key_variable is None:
            return None
        key = os.environ.get(self.key_variable, "")
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            expected = "an environment variable that holds the key alone, or null if the endpoint needs none"
            raise SettingError("key_variable", self.key_variable, expected)
        return key

    def _check_key_variable(self) -> None:
        """Check the name before anything is printed: an invalid name may be the key itself, so hide it."""
        if self.key_variable is not None and not re.fullmatch(r"[A-Za-z_]\w*", str(self.key_variable)):
            expected = "the name of an environment variable, not the key itself"
            raise SettingError("key_variable", "...", expected)

    def _public(self, text: str) -> str:
        """Return ``text`` without the key, which an endpoint may repeat."""
        key = self._key()
        return text.replace(key, "***") if key else text


def _body(error: urllib.error.HTTPError) -> str:
    """Return the start of an error's body."""
    try:
        return error.read(300).decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return ""


def _check_address(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        parts = urllib.parse.SplitResult("", "", "", "", "")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise SettingError("url", url, "https://HOST/v1/chat/completions")
    if parts.username is not None or parts.query:  # the URL goes into messages and the config
        raise SettingError(
            "url", "...", "an address without a user or a query; the key goes into key_variable"
        )
