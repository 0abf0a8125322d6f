"""The judge: a real server, its failures, and where the key must not appear."""

from __future__ import annotations

import pytest
from judge_server import KEY, Script, judge_server

from script_exp.benchmarks.rules.judge import Judge
from script_exp.errors import SettingError, UserError


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def judge(script, **settings):
    return Judge(
        **{"url": script.url, "model": "grader-1", "key_variable": "JUDGE_KEY", "wait": 0.01} | settings
    )


def test_what_is_sent_and_what_comes_back():
    with judge_server(Script(["0.5"])) as script:
        assert judge(script).ask("How good is é?", max_tokens=8) == "0.5"
    assert script.asked == [
        {
            "model": "grader-1", "messages": [{"role": "user", "content": "How good is é?"}],
            "temperature": 0, "max_tokens": 8,
        }
    ]  # fmt: skip


def test_no_key_where_none_is_needed():
    with judge_server(Script(["1.0"], needs_key=False)) as script:
        assert judge(script, key_variable=None).ask("?", 8) == "1.0"


def test_a_busy_endpoint_is_asked_again():
    with judge_server(Script([500, 429, 503, "0.7"])) as script:
        assert judge(script, tries=4).ask("?", 8) == "0.7"
    assert len(script.asked) == 4


def test_the_last_failure_is_told_without_the_key():
    with judge_server(Script([500, 503])) as script, pytest.raises(UserError) as caught:
        judge(script, tries=2).ask("?", 8)
    assert f"no reply from the judge at {script.url} in 2 tries: HTTP 503 not now, Bearer ***" in str(
        caught.value
    )
    assert KEY not in repr(caught.value)


def test_a_refusal_is_final(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", "another")
    with judge_server(Script(["0.5"])) as script, pytest.raises(UserError) as caught:
        judge(script).ask("?", 8)
    assert str(caught.value) == f"the judge at {script.url} refused: HTTP 401 wrong key: Bearer ***"
    assert len(script.asked) == 1


def test_a_slow_or_missing_endpoint():
    with judge_server(Script(["0.5"] * 2, slow=0.5)) as script, pytest.raises(UserError, match="timed out"):
        judge(script, timeout=0.05, tries=2).ask("?", 8)
    with pytest.raises(UserError, match=r"no reply from the judge at .* in 2 tries: .*refused"):
        judge(script, tries=2).ask("?", 8)  # the server is gone


@pytest.mark.parametrize("raw", [b"<html>", b"[]", b'{"choices": []}', b'{"choices": [{"message": {}}]}'])
def test_a_reply_of_another_kind(raw):
    with (
        judge_server(Script(["0.5"], raw=raw)) as script,
        pytest.raises(UserError, match="is not a chat-completions endpoint: it replied"),
    ):
        judge(script).ask("?", 8)


@pytest.mark.parametrize(
    ("settings", "key", "expected"),
    [
        ({"url": "api.example.com"}, "url", "https://HOST/v1/chat/completions"),
        ({"url": "file:///etc/passwd"}, "url", "https://HOST/v1/chat/completions"),
        ({"url": "https://[x/v1"}, "url", "https://HOST/v1/chat/completions"),
        ({"url": f"https://me:{KEY}@example.com/v1"}, "url", "without a user or a query"),
        ({"url": f"https://example.com/v1?key={KEY}"}, "url", "without a user or a query"),
        ({"key_variable": KEY}, "key_variable", "the name of an environment variable, not the key itself"),
        ({"key_variable": "NOT_THERE"}, "key_variable", "an environment variable that holds the key"),
        ({"key_variable": "WITH_BREAK"}, "key_variable", "an environment variable that holds the key"),
        ({"model": ""}, "model", "the name of a model"),
        ({"tries": 0}, "tries", "a whole number >= 1"),
        ({"timeout": 0}, "timeout", "seconds > 0"),
        ({"wait": -1}, "wait", "seconds >= 0"),
    ],
)
def test_settings_that_are_not_right(monkeypatch, settings, key, expected):
    monkeypatch.setenv("WITH_BREAK", f"{KEY}\n{KEY}")
    fine = {"url": "https://example.com/v1/chat/completions", "key_variable": "JUDGE_KEY"}
    with pytest.raises(SettingError) as caught:
        Judge(**fine | settings)
    assert caught.value.key == key
    assert expected in str(caught.value)
    assert KEY not in str(caught.value)


def test_without_an_address_nothing_is_needed():
    assert Judge(key_variable="NOT_THERE").url is None
    assert KEY not in repr(Judge(url="https://example.com/v1", key_variable="JUDGE_KEY"))
