"""Callbacks leave the machine, signed; and go nowhere they should not."""

import base64
import hashlib
import hmac
import json
import re
import time

import pytest

from support.docker_cli import docker
from support.stack import RECEIVER
from support.waiting import wait_until

# Prints each request as one line of JSON. With arguments: tells which of these addresses take a connection.
SERVER = """
import http.server, json

class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        print(json.dumps({"path": self.path, "headers": dict(self.headers), "body": body}), flush=True)
        self.send_response(204)
        self.end_headers()

http.server.HTTPServer(("", 8080), Handler).serve_forever()
"""
KNOCK = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()
    print("open")
except OSError as error:
    print(type(error).__name__)
"""


@pytest.fixture
def receiver(stack):
    """A container beside the runner, outside of the system."""
    name = f"{stack.name}-{RECEIVER}"
    where = [
        "--network",
        f"{stack.name}-outgoing",
        "--network-alias",
        RECEIVER,
        "--label",
        f"smlops.stack={stack.name}",
    ]
    docker("run", "-d", "--init", "--name", name, *where, "--entrypoint", "python3", stack.python_image, "-c", SERVER)
    yield name
    docker("rm", "-f", name)


def secret_of(stack):
    """As start.sh has written it down."""
    (secret,) = re.findall(r"^CALLBACK_SECRET='?(whsec_[^'\n]+)'?$", (stack.directory / "env").read_text(), re.M)
    return secret


def state_of(stack, answer, *states):
    def callback():
        found = stack.record(answer.json["invocation_id"])["callback"]
        return found if found["state"] in states else None

    return wait_until(callback, seconds=30, what=f"the callback is {states}")


def test_it_works(stack, receiver):
    answer = stack.invoke("echo", {"a": 1}, callback_url=f"http://{RECEIVER}:8080/hook?for=me")

    callback = state_of(stack, answer, "delivered", "failed")

    assert (callback["state"], callback["attempts"]) == ("delivered", 1), callback
    (line,) = docker("logs", receiver).splitlines()[:1]
    request = json.loads(line)
    headers = {name.lower(): value for name, value in request["headers"].items()}
    assert request["path"] == "/hook?for=me"
    record = json.loads(request["body"])
    assert (record["invocation_id"], record["status"]) == (answer.json["invocation_id"], "succeeded")
    assert record["result"] == answer.result
    assert headers["webhook-id"] == record["invocation_id"]
    assert abs(time.time() - int(headers["webhook-timestamp"])) < 60
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{request['body']}".encode()
    key = base64.b64decode(secret_of(stack).removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert 'smlops_callback_deliveries_total{result="delivered"}' in stack.get("/metrics").text


@pytest.mark.parametrize("host", ["mlflow:5000", "runtime-api:9001", "localhost:9001", "runner:9001"])
def test_our_own_services_are_not_called(stack, host):
    answer = stack.invoke("echo", {}, callback_url=f"http://{host}/")

    callback = state_of(stack, answer, "delivered", "failed")

    assert callback["state"] == "failed"
    assert "not a public address" in callback["last_error"]


@pytest.mark.parametrize("host", ["127.0.0.1", "169.254.169.254", "172.17.0.1", "[::1]", "[::ffff:10.0.0.1]"])
def test_an_address_that_is_not_public_is_refused(stack, host):
    answer = stack.invoke("echo", {}, callback_url=f"http://{host}/")

    answer.problem(422, "callback_refused")


def test_the_way_out_is_no_way_in(stack, receiver):
    address = stack.container("runner")["NetworkSettings"]["Networks"][f"{stack.name}-outgoing"]["IPAddress"]

    for port in ("9001", "8080", "80", "2375"):
        assert docker("exec", receiver, "python3", "-c", KNOCK, address, port).strip() == "ConnectionRefusedError"


def test_functions_do_not_see_it(stack, receiver):
    address = docker(
        "inspect", "-f", f'{{{{(index .NetworkSettings.Networks "{stack.name}-outgoing").IPAddress}}}}', receiver
    ).strip()

    result = stack.invoke("tries-the-network", {"targets": [f"{address}:8080", RECEIVER]}).result

    assert result["opened"] == []
