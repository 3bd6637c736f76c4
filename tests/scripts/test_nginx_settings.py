"""nginx/configure.py: what NGINX is told, and when it does not start."""

import base64
import hashlib
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

PATH = Path(__file__).parents[2] / "nginx" / "configure.py"


@pytest.fixture(scope="module")
def configure() -> ModuleType:
    """The module, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("configure", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_works(configure: ModuleType) -> None:
    files = configure.render({})
    assert files["server-names.conf"] == "server_name localhost 127.0.0.1 [::1];\n"
    assert files["limits.conf"] == "client_max_body_size 1048576;\n"
    assert files["login.conf"] == files["users"] == ""


def test_public_names_are_added_once(configure: ModuleType) -> None:
    files = configure.render({"PUBLIC_HOSTS": "ML.example.org, localhost,,ml.example.org"})
    assert files["server-names.conf"] == "server_name localhost 127.0.0.1 [::1] ml.example.org;\n"


def test_the_address_is_a_name_too(configure: ModuleType) -> None:
    files = configure.render({"BIND_ADDRESS": "192.168.1.5", "HTTP_USER": "anna", "HTTP_PASSWORD": "x"})
    assert files["server-names.conf"] == "server_name localhost 127.0.0.1 [::1] 192.168.1.5;\n"


@pytest.mark.parametrize("name", ["*.example.org", "a;b", "a b", "http://a", "a:80", "~^.*$", "$host", "_", "a\nb"])
def test_names_that_are_none_are_refused(configure: ModuleType, name: str) -> None:
    with pytest.raises(configure.Refused):
        configure.render({"PUBLIC_HOSTS": name})


@pytest.mark.parametrize("address", ["0.0.0.0", "192.168.1.5", "::"])
def test_others_may_reach_it_only_with_credentials(configure: ModuleType, address: str) -> None:
    with pytest.raises(configure.Refused, match="HTTP_USER"):
        configure.render({"BIND_ADDRESS": address})
    assert configure.render({"BIND_ADDRESS": address, "HTTP_USER": "anna", "HTTP_PASSWORD": "x"})["login.conf"]


@pytest.mark.parametrize("address", ["127.0.0.1", "127.1.2.3", "localhost", "::1", ""])
def test_this_machine_needs_no_credentials(configure: ModuleType, address: str) -> None:
    assert configure.render({"BIND_ADDRESS": address})["login.conf"] == ""


@pytest.mark.parametrize(
    "settings",
    [
        {"HTTP_USER": "anna"},
        {"HTTP_PASSWORD": "x"},
        {"HTTP_USER": "an:na", "HTTP_PASSWORD": "x"},
        {"HTTP_USER": "anna\nroot", "HTTP_PASSWORD": "x"},
        {"BIND_ADDRESS": "nowhere"},
        {"REQUEST_MAX_BYTES": "1m; root /"},
    ],
)
def test_nonsense_is_refused(configure: ModuleType, settings: dict[str, str]) -> None:
    with pytest.raises(configure.Refused):
        configure.render(settings)


def test_the_password_is_kept_as_a_salted_hash(configure: ModuleType) -> None:
    first, second = (configure.render({"HTTP_USER": "anna", "HTTP_PASSWORD": "pä:x"})["users"] for _ in range(2))
    assert first != second
    user, _, stored = first.strip().partition(":{SSHA}")
    raw = base64.b64decode(stored)
    assert user == "anna"
    assert hashlib.sha1("pä:x".encode() + raw[20:]).digest() == raw[:20]
