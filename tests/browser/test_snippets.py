"""The calls that the dashboard writes out for a shell and for Python: snippets.js, tried in both."""

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

ORIGIN = "http://localhost:8080"
NASTY: dict[str, Any] = {
    "text": 'it\'s "quoted" $HOME `id` \\n !x\n\ttabs, \u00fcn\u00efcode \U0001f338 \u2028',
    "it's": [None, True, False, -1.5, 1e21, [], {}],
    "--data": "'; rm -rf ~; '",
}


@pytest.fixture(scope="module")
def module_page(browser: Browser, base_url: str) -> Iterator[Page]:
    """One page for all: nothing here changes it."""
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(base_url)
        # Then all modules have arrived, and none is fetched again.
        expect(page.get_by_role("navigation", name="Pages").get_by_role("link", name="Functions")).to_be_visible()
        yield page


def written(page: Page, function: str, parameters: object, *, is_background: bool) -> str:
    text: str = page.evaluate(
        "async ([name, ...values]) => (await import('/js/snippets.js'))[name](...values)",
        [function, ORIGIN, "echo", parameters, is_background],
    )
    return text


@pytest.mark.parametrize("is_background", [False, True])
def test_a_shell_gives_curl_exactly_these_parameters(module_page: Page, *, is_background: bool) -> None:
    command = written(module_page, "curlFor", NASTY, is_background=is_background)
    words = shlex.split(command.replace("\\\n", ""))
    seen = subprocess.run(
        ["sh", "-c", f'curl() {{ printf "%s\\0" "$@"; }}; {command}'], capture_output=True, check=True
    )
    assert seen.stdout.decode().split("\0")[:-1] == words[1:]
    assert json.loads(words[words.index("-d") + 1]) == {"function": "echo", "parameters": NASTY}
    assert f"{ORIGIN}/invoke" in words
    assert ("Prefer: respond-async" in words) is is_background


def test_what_is_too_long_for_an_argument_goes_in_as_text(module_page: Page) -> None:
    parameters = {"text": "it's " * 40_000}
    command = written(module_page, "curlFor", parameters, is_background=False)
    script = f"curl() {{ cat; }}; {command}\n"
    seen = subprocess.run(["sh"], input=script.encode(), capture_output=True, check=True)
    assert json.loads(seen.stdout) == {"function": "echo", "parameters": parameters}


def test_python_sends_exactly_these_parameters(module_page: Page, capsys: pytest.CaptureFixture[str]) -> None:
    sent = run_python(written(module_page, "pythonFor", NASTY, is_background=False))
    assert sent == [(f"{ORIGIN}/invoke", {"json": {"function": "echo", "parameters": NASTY}})]
    assert capsys.readouterr().out == "done\n"


def test_python_follows_what_runs_in_the_background(module_page: Page, capsys: pytest.CaptureFixture[str]) -> None:
    sent = run_python(written(module_page, "pythonFor", NASTY, is_background=True))
    assert sent[0][1]["headers"] == {"Prefer": "respond-async"}
    assert [address for address, _ in sent[1:]] == [f"{ORIGIN}/invocations/i1"]
    assert capsys.readouterr().out == "succeeded done\n"


def run_python(program: str) -> list[tuple[str, dict[str, Any]]]:
    """Run it with a stand-in for requests; returns what it sent."""
    sent: list[tuple[str, dict[str, Any]]] = []

    def answer(status: str) -> SimpleNamespace:
        body = {"invocation_id": "i1", "status": status, "result": "done"}
        return SimpleNamespace(json=lambda: body, raise_for_status=lambda: None)

    def post(address: str, **arguments: Any) -> SimpleNamespace:
        sent.append((address, arguments))
        return answer("running" if "headers" in arguments else "succeeded")

    def get(address: str) -> SimpleNamespace:
        sent.append((address, {}))
        return answer("succeeded")

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "requests", SimpleNamespace(post=post, get=get))
        patch.setattr("time.sleep", lambda _: None)
        exec(compile(program, "snippet.py", "exec"), {})
    return sent
