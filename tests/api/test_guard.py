"""Host, Origin and Sec-Fetch-Site: who may ask at all."""

import pytest

BODY = {"function": "echo", "parameters": {"word": "x"}}


def post(client, host="localhost", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/invoke", json=BODY, headers={"Host": host, **named})


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "LOCALHOST", "[::1]", "[::1]:8080", "house.example:1"])
def test_our_own_names_are_answered(client, host):
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.test",
        "evil.test:80",
        "localhost.evil.test",
        "evil.test#localhost",
        "localhost@evil.test",
        "user@localhost",
        "10.evil.example",
        "::1",
        "[::1",
        "localhost:80:80",
        "localhost:",
        "local host",
        "",
        "ü",
        "127.0.0.1",
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/health"), ("POST", "/invoke"), ("GET", "/nothing")])
def test_other_names_are_misdirected(client, services, problem, host, method, path):
    problem(client.open(path, method=method, headers={"Host": host}), 421, "misdirected_request")
    assert services.invoker.calls == []


def test_no_name_is_misdirected(app, problem):
    seen = []
    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/health", "SERVER_NAME": "localhost", "SERVER_PORT": "80"}
    environ |= {"wsgi.url_scheme": "http", "wsgi.input": None, "wsgi.errors": None, "SERVER_PROTOCOL": "HTTP/1.0"}
    b"".join(app.wsgi_app(environ, lambda status, headers, *_: seen.append(status)))
    assert seen == ["421 MISDIRECTED REQUEST"]


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_our_own_pages_may_post(client, site):
    assert post(client, Sec_Fetch_Site=site, Origin="http://localhost").status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site", "", "SAME-ORIGIN", "x"])
def test_pages_elsewhere_may_not_post(client, services, problem, site):
    problem(post(client, Sec_Fetch_Site=site), 403, "forbidden_origin")
    assert services.invoker.calls == []


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost", "localhost"),
        ("https://localhost", "localhost"),
        ("http://LOCALHOST", "localhost"),
        ("http://localhost:8080", "localhost:8080"),
        ("http://localhost", "localhost:80"),
        ("http://[::1]:8080", "[::1]:8080"),
        # NGINX passes the name without the port, and compares the ports itself.
        ("http://localhost:8080", "localhost"),
    ],
)
def test_our_own_origin_may_post(client, origin, host):
    assert post(client, host, Origin=origin).status_code == 200


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("null", "localhost"),
        ("", "localhost"),
        ("http://evil.test", "localhost"),
        ("http://house.example", "localhost"),
        ("http://localhost.evil.test", "localhost"),
        ("http://localhost@evil.test", "localhost"),
        ("http://evil.test@localhost", "localhost"),
        ("http://localhost/", "localhost"),
        ("http://localhost:3000", "localhost:8080"),
        ("http://localhost:3000", "localhost:80"),
        ("http://localhost:99999", "localhost"),
        ("http://localhost http://evil.test", "localhost"),
        ("file://localhost", "localhost"),
        ("localhost", "localhost"),
        ("http://[::1", "localhost"),
    ],
)
def test_another_origin_may_not_post(client, services, problem, origin, host):
    problem(post(client, host, Origin=origin), 403, "forbidden_origin")
    assert services.invoker.calls == []


def test_reading_is_not_forbidden_by_origin(client):
    headers = {"Origin": "http://evil.test", "Sec-Fetch-Site": "cross-site"}
    response = client.get("/health", headers=headers)
    assert response.status_code == 200
    assert not [name for name, _ in response.headers if name.startswith("Access-Control")]


def test_a_preflight_gets_no_grant(client, problem):
    headers = {"Origin": "http://evil.test", "Access-Control-Request-Method": "POST"}
    response = client.open("/invoke", method="OPTIONS", headers=headers)
    problem(response, 405, "method_not_allowed")
    assert not [name for name, _ in response.headers if name.startswith("Access-Control")]


def test_building_is_guarded_too(client, services, problem):
    problem(client.post("/functions/echo/build", headers={"Origin": "null"}), 403, "forbidden_origin")
    assert services.images.built == []


@pytest.mark.parametrize("path", ["/health", "/nothing", "/invocations?limit=x", "/docs", "/invoke"])
def test_every_answer_is_marked(client, path):
    response = client.get(path)
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Cache-Control"] == "no-store"
