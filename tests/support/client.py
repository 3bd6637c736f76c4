"""A client of the HTTP interface, as small as curl."""

import json
from dataclasses import dataclass
from typing import Any

import requests

PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Answer:
    """One answer, with the body read as JSON where it is."""

    status: int
    headers: requests.structures.CaseInsensitiveDict[str]
    content: bytes
    seconds: float

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode("utf-8", errors="replace")

    @property
    def json(self) -> Any:
        """The body as JSON; fails with the body's beginning when it is not."""
        try:
            return json.loads(self.content)
        except ValueError:
            raise AssertionError(f"not JSON (status {self.status}): {self.text[:500]}") from None

    @property
    def result(self) -> Any:
        """The function's result, after making sure that there is one."""
        assert self.status == 200, f"{self.status}: {self.text[:2000]}"
        assert self.json["status"] == "succeeded", self.json
        return self.json["result"]

    def problem(self, status: int, code: str) -> dict[str, Any]:
        """The problem document, after making sure that it is this one."""
        assert self.status == status, f"expected {status} {code}, got {self.status}: {self.text[:2000]}"
        assert self.headers["Content-Type"].partition(";")[0] == PROBLEM, self.headers
        document: dict[str, Any] = self.json
        assert document["status"] == status, document
        assert document["code"] == code, document
        assert document["title"], document
        assert document["detail"], document
        return document


class Client:
    """Requests to one address. Environment proxies are not asked: the address is this machine."""

    def __init__(self, url: str) -> None:
        self.url = url

    def request(self, method: str, path: str, *, timeout: float = 300, **options: Any) -> Answer:
        """One request on a connection of its own, so that threads may share the client."""
        with requests.Session() as session:
            session.trust_env = False
            response = session.request(method, self.url + path, timeout=timeout, allow_redirects=False, **options)
            return Answer(response.status_code, response.headers, response.content, response.elapsed.total_seconds())

    def get(self, path: str, **options: Any) -> Answer:
        """GET."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> Answer:
        """POST."""
        return self.request("POST", path, **options)

    def invoke(
        self,
        function: str,
        parameters: dict[str, Any] | None = None,
        *,
        timeout: float | None = None,
        callback_url: str | None = None,
        **options: Any,
    ) -> Answer:
        """POST /invoke; ``timeout`` is the function's, in seconds."""
        body: dict[str, Any] = {"function": function, "parameters": parameters or {}}
        if timeout is not None:
            body["timeout"] = timeout
        if callback_url is not None:
            body["callback_url"] = callback_url
        return self.post("/invoke", json=body, **options)

    def record(self, invocation_id: str) -> dict[str, Any]:
        """The record of an invocation."""
        answer = self.get(f"/invocations/{invocation_id}")
        assert answer.status == 200, answer.text
        record: dict[str, Any] = answer.json
        return record

    def logs(self, invocation_id: str) -> str:
        """The log of an invocation."""
        answer = self.get(f"/invocations/{invocation_id}/logs")
        assert answer.status == 200, answer.text
        return answer.text
