"""``/docs``, for people."""

import html
import re
from html.parser import HTMLParser

from function_runner.api.docs import problem_codes
from support.api import add_function, remove_function


def test_it_works(client):
    response = client.get("/docs")
    assert response.status_code == 200
    assert response.content_type == "text/html; charset=utf-8"
    assert "<h1>" in response.text


def test_every_route_is_on_it(client):
    page = client.get("/docs").text
    for path in client.get("/openapi.json").get_json()["paths"]:
        assert f"<code>{path}</code>" in page


def test_every_problem_is_on_it(client):
    page = client.get("/docs").text
    for kind in problem_codes():
        assert f"<code>{kind.code}</code>" in page


def test_functions_and_their_parameters_are_on_it(client, folder):
    add_function(folder, "newcomer")
    page = client.get("/docs").text
    assert "<code>newcomer</code>" in page
    assert "What to say" in page


def test_examples_can_be_pasted_into_a_shell(client):
    page = client.get("/docs").text
    call = html.unescape(re.search(r"<pre><code>(.*?)</code></pre>", page, re.DOTALL).group(1))
    assert call == (
        "curl -X POST http://localhost/invoke -H 'Content-Type: application/json' \\\n"
        """  -d '{"function": "echo", "parameters": {"word": "it'"'"'s hello"}}'"""
    )


def test_without_functions_it_works_too(client, folder):
    remove_function(folder, "echo")
    assert "There is no function yet" in client.get("/docs").text


def test_nothing_a_function_says_becomes_markup(client, folder):
    hostile = "<script>alert(1)</script>"
    manifest = f"""
description: "{hostile}"
parameters:
  type: object
  properties:
    "{hostile}": {{type: string, description: "{hostile} `{hostile}`", default: "{hostile}", pattern: "{hostile}"}}
examples:
  - name: "{hostile}"
    parameters: {{"{hostile}": "{hostile}"}}
"""
    add_function(folder, "hostile", manifest)
    page = client.get("/docs").text
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_its_policy_is_shut_and_it_fits_into_it(client):
    response = client.get("/docs")
    assert "default-src 'none'; style-src 'self'" in response.headers["Content-Security-Policy"]
    seen = Tags()
    seen.feed(response.text)
    assert not {"script", "style", "img", "form", "iframe"} & seen.names
    assert not {"style", "onclick", "onload"} & seen.attributes
    assert seen.stylesheets == ["/docs/style.css"]


def test_its_elements_are_closed_and_its_anchors_exist(client):
    seen = Tags()
    seen.feed(client.get("/docs").text)
    assert seen.open == []
    assert len(seen.ids) == len(set(seen.ids))
    assert {link[1:] for link in seen.links if link.startswith("#")} <= set(seen.ids)


def test_its_stylesheet_is_there(client):
    response = client.get("/docs/style.css")
    assert response.status_code == 200
    assert response.mimetype == "text/css"
    assert "max-age" in response.headers["Cache-Control"]


class Tags(HTMLParser):
    """What a page is made of."""

    def __init__(self):
        super().__init__()
        self.names, self.attributes, self.open = set(), set(), []
        self.stylesheets, self.ids, self.links = [], [], []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.names.add(tag)
        self.attributes |= set(values)
        if tag == "link":
            self.stylesheets.append(values["href"])
        if tag == "a":
            self.links.append(values["href"])
        if "id" in values:
            self.ids.append(values["id"])
        if tag not in ("meta", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
