"""Callbacks reach whoever asked for them, signed, and nobody else. With a real server on this machine."""

import base64
import hashlib
import hmac
import json
import socket
import ssl
import threading
import time
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_network

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from function_runner import api, callbacks
from function_runner.callback_rules import MAX_ATTEMPTS
from function_runner.callbacks import Callbacks, own_networks
from function_runner.errors import CallbackRefused, IdempotencyKeyReused
from function_runner.invocation import CallbackState, Request, Status, Timings, utc_now
from support.waiting import wait_until

ECHO = "def handler(event, context):\n    return event\n"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Receiver(ThreadingHTTPServer):
    """Keeps what it is sent; answers with the next of ``statuses``, and 204 when there is none.

    With a context, it speaks TLS.
    """

    daemon_threads = True

    def __init__(self, context=None):
        super().__init__(("127.0.0.1", 0), _Handler)
        if context is not None:  # before it serves: for a moment, the socket is nobody's
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.received, self.statuses, self.headers = [], [], {}
        self.url = f"http://127.0.0.1:{self.server_port}/hook?for=me"
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append((self.path, {name.lower(): self.headers[name] for name in self.headers}, body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def receiver():
    server = Receiver()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def encrypted(tmp_path):
    """A receiver that speaks TLS, and its certificate, which nobody trusts by itself."""
    key, certificate = ec.generate_private_key(ec.SECP256R1()), tmp_path / "localhost.pem"
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    signed = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(utc_now() - timedelta(hours=1))
        .not_valid_after(utc_now() + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    certificate.write_bytes(key.private_bytes(*form) + signed.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = Receiver(context)
    server.url = f"https://localhost:{server.server_port}/"
    yield server, certificate
    server.shutdown()
    server.server_close()


@pytest.fixture
def runner(make_runner):
    found = make_runner(callback_secret=SECRET, callback_allowed_hosts=("127.0.0.1", "localhost"), max_concurrency=4)
    found.add("echo", ECHO)
    return found


class Later:
    """A clock that can be put forward."""

    def __init__(self):
        self.by = timedelta()

    def __call__(self):
        return utc_now() + self.by


@pytest.fixture
def clock():
    return Later()


def callbacks_of(runner, clock=utc_now):
    return Callbacks(runner.settings, runner.store, runner.metrics, api.render, now=clock)


def asked(runner, url, end=True):
    """An invocation with a callback, which has ended."""
    accepted = runner.invoker.submit(Request("echo", {"a": 1}, callback_url=url))
    if end:
        runner.store.finish(accepted.id, status=Status.CANCELLED, finished_at=utc_now(), timings=Timings())
    return accepted.id


def attempt(runner, clock=utc_now):
    """One attempt for each callback that is due; how many there were."""
    deliverer = callbacks_of(runner, clock)
    due = runner.store.due_callbacks(clock())
    for one in due:
        deliverer.deliver(one)
    return len(due)


def callback(runner, invocation_id):
    return runner.store.get(invocation_id).callback


def deliveries(runner):
    lines = runner.metrics.render()[0].decode().splitlines()
    counted = dict(line.rsplit(" ", 1) for line in lines if line.startswith("smlops_callback_deliveries_total{"))
    return {name.split('"')[1]: float(value) for name, value in counted.items()}


class TestDelivery:
    def test_it_works(self, runner, receiver):
        record = runner.invoker.invoke(Request("echo", {"a": 1}, callback_url=receiver.url))
        assert attempt(runner) == 1
        ((path, headers, body),) = receiver.received
        assert path == "/hook?for=me"
        sent = json.loads(body)
        assert (sent["invocation_id"], sent["status"], sent["result"]) == (record.id, "succeeded", {"a": 1})
        assert sent.keys() == json.loads(api.render(record, [])).keys()
        assert headers["content-type"] == "application/json"
        assert headers["host"] == f"127.0.0.1:{receiver.server_port}"
        told = callback(runner, record.id)
        assert (told.state, told.attempts, told.last_error) == (CallbackState.DELIVERED, 1, None)
        assert told.delivered_at is not None
        assert attempt(runner) == 0
        assert deliveries(runner) == {"delivered": 1, "retried": 0, "failed": 0}

    def test_it_is_signed(self, runner, receiver):
        invocation_id = asked(runner, receiver.url)
        attempt(runner)
        ((_, headers, body),) = receiver.received
        assert headers["webhook-id"] == invocation_id
        assert abs(int(headers["webhook-timestamp"]) - time.time()) < 30
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        signed = f"{invocation_id}.{headers['webhook-timestamp']}.".encode() + body
        expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
        assert headers["webhook-signature"] == f"v1,{expected}"

    @pytest.mark.parametrize("status", [status for status in Status if status.is_terminal])
    def test_however_it_ended(self, runner, receiver, status):
        invocation_id = asked(runner, receiver.url, end=False)
        assert attempt(runner) == 0
        if status is Status.SUCCEEDED:
            runner.invoker.run(runner.store.claim(1)[0])
        else:
            runner.store.finish(invocation_id, status=status, finished_at=utc_now(), timings=Timings())
        assert attempt(runner) == 1
        assert json.loads(receiver.received[0][2])["status"] == status

    def test_nobody_is_called_who_did_not_ask(self, runner, receiver):
        record = runner.invoker.invoke(Request("echo", {}))
        assert record.callback is None
        assert attempt(runner) == 0

    def test_a_replay_has_no_callback(self, runner, receiver):
        record = runner.invoker.invoke(Request("echo", {}, callback_url=receiver.url))
        replay = runner.invoker.request_to_replay(record, like_then=False)
        assert replay.callback_url is None

    def test_the_key_of_a_request_stands_for_its_callback_too(self, runner, receiver):
        runner.invoker.submit(Request("echo", {}, callback_url=receiver.url, idempotency_key="k"))
        with pytest.raises(IdempotencyKeyReused):
            runner.invoker.submit(Request("echo", {}, idempotency_key="k"))

    def test_in_the_background(self, runner, receiver):
        ids = [asked(runner, receiver.url) for _ in range(12)]
        deliverer = callbacks_of(runner)
        deliverer.start()
        wait_until(lambda: all(callback(runner, one).state is CallbackState.DELIVERED for one in ids))
        deliverer.stop()
        assert sorted(headers["webhook-id"] for _, headers, _ in receiver.received) == sorted(ids)

    def test_a_proxy_of_the_environment_is_not_used(self, runner, receiver, monkeypatch):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, "http://127.0.0.1:1")
        asked(runner, receiver.url)
        attempt(runner)
        assert len(receiver.received) == 1


class TestRetry:
    def test_what_was_not_taken_is_sent_again_with_the_same_id(self, runner, receiver, clock):
        receiver.statuses = [500, 503]
        invocation_id = asked(runner, receiver.url)
        assert attempt(runner, clock) == 1
        told = callback(runner, invocation_id)
        assert (told.state, told.attempts, told.last_error) == (CallbackState.PENDING, 1, "the receiver answered 500")
        assert attempt(runner, clock) == 0  # not at once
        for _ in range(2):
            clock.by += timedelta(minutes=2)
            assert attempt(runner, clock) == 1
        assert callback(runner, invocation_id).state is CallbackState.DELIVERED
        assert callback(runner, invocation_id).attempts == 3
        assert {headers["webhook-id"] for _, headers, _ in receiver.received} == {invocation_id}
        assert deliveries(runner) == {"delivered": 1, "retried": 2, "failed": 0}

    def test_not_for_ever(self, runner, receiver, clock):
        receiver.statuses = [404] * 20
        invocation_id = asked(runner, receiver.url)
        while attempt(runner, clock):
            clock.by += timedelta(hours=2)
        told = callback(runner, invocation_id)
        assert (told.state, told.attempts) == (CallbackState.FAILED, MAX_ATTEMPTS)
        assert told.last_error == "the receiver answered 404"
        assert len(receiver.received) == MAX_ATTEMPTS

    def test_who_says_that_nobody_is_there_is_not_called_again(self, runner, receiver, clock):
        receiver.statuses = [410]
        invocation_id = asked(runner, receiver.url)
        attempt(runner, clock)
        assert callback(runner, invocation_id).state is CallbackState.FAILED

    def test_a_redirect_is_not_followed(self, runner, receiver):
        receiver.statuses, receiver.headers = [302], {"Location": receiver.url}
        invocation_id = asked(runner, receiver.url)
        attempt(runner)
        assert len(receiver.received) == 1
        assert callback(runner, invocation_id).last_error == "the receiver answered 302"

    def test_where_nobody_listens(self, runner, receiver):
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            invocation_id = asked(runner, f"http://127.0.0.1:{nobody.getsockname()[1]}/")
            attempt(runner)
        assert "refused" in callback(runner, invocation_id).last_error

    def test_a_host_that_is_not_known(self, runner):
        invocation_id = asked(runner, "http://nobody.invalid/")
        attempt(runner)
        told = callback(runner, invocation_id)
        assert (told.state, told.last_error) == (CallbackState.PENDING, "the host nobody.invalid is not known")

    def test_what_is_no_http(self, runner):
        with speaking(b"220 mail.example ESMTP\r\n") as url:
            invocation_id = asked(runner, url)
            attempt(runner)
        assert "the connection failed" in callback(runner, invocation_id).last_error

    def test_https_without_a_certificate_we_trust(self, runner, receiver):
        invocation_id = asked(runner, receiver.url.replace("http:", "https:"))
        attempt(runner)  # the receiver does not even speak TLS
        assert "the connection failed" in callback(runner, invocation_id).last_error
        assert receiver.received == []

    def test_https(self, runner, encrypted, monkeypatch):
        server, certificate = encrypted
        invocation_id = asked(runner, server.url)
        attempt(runner)
        assert "its certificate is not trusted" in callback(runner, invocation_id).last_error
        assert server.received == []
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        invocation_id = asked(runner, server.url)
        attempt(runner)
        assert callback(runner, invocation_id).state is CallbackState.DELIVERED
        other = asked(runner, server.url.replace("localhost", "127.0.0.1"))
        attempt(runner)
        assert "its certificate is not trusted" in callback(runner, other).last_error  # it is another's

    @pytest.mark.parametrize(
        ("url", "host"),
        [
            ("https://hooks.example.com/", "hooks.example.com"),
            ("http://hooks.example.com/", "hooks.example.com"),
            ("https://hooks.example.com:80/", "hooks.example.com:80"),
            ("http://[2606:4700::1111]:81/", "[2606:4700::1111]:81"),
        ],
    )
    def test_whom_the_request_is_for(self, runner, receiver, monkeypatch, url, host):
        here = receiver.server_address
        monkeypatch.setattr(Callbacks, "_connect", lambda *_: socket.create_connection(here))
        asked(runner, url)
        attempt(runner)
        assert [headers["host"] for _, headers, _ in receiver.received] == [host]

    def test_one_that_sends_a_byte_now_and_then_is_cut_off(self, runner, monkeypatch):
        monkeypatch.setattr(callbacks, "DELIVERY_SECONDS", 1.0)
        with speaking(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000, every=0.05) as url:
            invocation_id = asked(runner, url)
            began = time.monotonic()
            attempt(runner)
        assert time.monotonic() - began < 20  # all of it would take 50 s
        assert callback(runner, invocation_id).last_error == "no answer within 1 s"

    def test_an_answer_without_end_is_not_read(self, runner, receiver):
        with speaking(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 100_000) as url:
            invocation_id = asked(runner, url)
            attempt(runner)
        assert callback(runner, invocation_id).state is CallbackState.DELIVERED


class speaking:  # noqa: N801 - reads as a sentence
    """A server that says this to whoever connects, whatever he says; with ``every``, a byte at a time."""

    def __init__(self, text, every=None):
        self.text, self.every = text, every
        self.listener = socket.create_server(("127.0.0.1", 0))

    def __enter__(self):
        threading.Thread(target=self.serve, daemon=True).start()
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/"

    def __exit__(self, *_):
        self.listener.close()

    def serve(self):
        connection, _ = self.listener.accept()
        with connection:
            try:
                if self.every is None:
                    connection.sendall(self.text)
                    connection.recv(1 << 20)
                    time.sleep(0.2)
                for byte in self.text if self.every is not None else b"":
                    connection.sendall(bytes([byte]))
                    time.sleep(self.every)
            except OSError:
                pass


class TestGuard:
    @pytest.fixture
    def guarded(self, make_runner):
        """A runner that is allowed to call nothing but what is public."""
        found = make_runner(callback_secret=SECRET)
        found.add("echo", ECHO)
        return found

    def test_an_address_is_refused_at_the_door(self, guarded, receiver):
        with pytest.raises(CallbackRefused):
            guarded.invoker.submit(Request("echo", {}, callback_url=receiver.url))
        with pytest.raises(CallbackRefused):
            guarded.invoker.invoke(Request("echo", {}, callback_url=receiver.url))
        assert guarded.store.search()[0] == []

    @pytest.mark.parametrize("host", ["localhost", "127.1", "2130706433", "0x7f000001"])
    def test_a_name_that_leads_here_is_refused_before_anything_is_sent(self, guarded, receiver, host, monkeypatch):
        connected = []
        monkeypatch.setattr(socket.socket, "connect", lambda _, where: connected.append(where))
        invocation_id = asked(guarded, f"http://{host}:{receiver.server_port}/")
        attempt(guarded)
        told = callback(guarded, invocation_id)
        assert (told.state, told.attempts) == (CallbackState.FAILED, 1)
        assert "not a public address" in told.last_error
        assert connected == receiver.received == []

    def test_of_several_addresses_only_those_that_are_allowed_are_called(self, make_runner, receiver, monkeypatch):
        runner = make_runner(callback_secret=SECRET, callback_allowed_hosts=("127.0.0.1/32",))
        runner.add("echo", ECHO)
        port = receiver.server_port
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in ("127.0.0.2", "127.0.0.1")]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        invocation_id = asked(runner, f"http://two.example:{port}/")
        attempt(runner)
        assert callback(runner, invocation_id).state is CallbackState.DELIVERED
        assert receiver.received[0][1]["host"] == f"two.example:{port}"

    def test_it_is_the_peer_that_counts_whatever_was_asked_for(self, guarded, receiver, monkeypatch):
        """Somebody between us and the address may answer in its place."""
        real = socket.socket.connect
        public = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("1.1.1.1", receiver.server_port))]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: public)
        monkeypatch.setattr(
            socket.socket, "connect", lambda self, where: real(self, ("127.0.0.1", receiver.server_port))
        )
        invocation_id = asked(guarded, "http://public.example/")
        attempt(guarded)
        assert "leads to 127.0.0.1" in callback(guarded, invocation_id).last_error
        assert receiver.received == []

    def test_the_names_of_a_public_host_are_asked_for_once(self, guarded, monkeypatch):
        """A name that means another address the second time has no second time."""
        asked_for = []
        here = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 9))]

        def answer(*where, **_):
            asked_for.append(where)
            return here

        monkeypatch.setattr(socket, "getaddrinfo", answer)
        asked(guarded, "http://rebinding.example/")
        attempt(guarded)
        assert len(asked_for) == 1

    def test_our_own_networks_are_found(self, tmp_path):
        routes = tmp_path / "route"
        routes.write_text(
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
            "eth0\t00000000\t010012AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
            "eth0\t000012AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
        )
        assert own_networks(routes) == [ip_network("172.18.0.0/16")]
        assert own_networks(tmp_path / "none") == []

    def test_without_a_secret_there_are_none(self, make_runner):
        runner = make_runner()
        runner.add("echo", ECHO)
        with pytest.raises(CallbackRefused, match="without CALLBACK_SECRET"):
            runner.invoker.submit(Request("echo", {}, callback_url="https://hooks.example.com/"))


class TestCrash:
    def test_what_was_accepted_is_delivered_by_the_next_runner(self, runner, receiver):
        invocation_id = asked(runner, receiver.url)
        after = runner.crash()
        assert attempt(after) == 1
        assert callback(after, invocation_id).state is CallbackState.DELIVERED

    def test_what_was_sent_and_not_noted_is_sent_again(self, runner, receiver, clock):
        invocation_id = asked(runner, receiver.url)
        assert runner.store.claim_callback(invocation_id, 1, until=clock() + callbacks.LEASE)
        after = runner.crash()
        assert attempt(after, clock) == 0  # somebody may be at it
        clock.by += callbacks.LEASE + timedelta(seconds=1)
        assert attempt(after, clock) == 1
        assert callback(after, invocation_id).attempts == 2

    def test_a_last_attempt_that_was_cut_off_is_the_last(self, runner, receiver, clock):
        invocation_id = asked(runner, receiver.url)
        for number in range(1, MAX_ATTEMPTS + 1):
            assert runner.store.claim_callback(invocation_id, number, until=clock())
        assert attempt(runner, clock) == 1
        assert callback(runner, invocation_id).state is CallbackState.FAILED
        assert receiver.received == []

    def test_an_attempt_is_made_by_one_of_several(self, runner, receiver):
        asked(runner, receiver.url)
        (due,) = runner.store.due_callbacks(utc_now())
        together = threading.Barrier(6)

        def deliver():
            together.wait()
            callbacks_of(runner).deliver(due)

        threads = [threading.Thread(target=deliver) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(receiver.received) == 1

    def test_one_that_is_under_way_is_not_made_by_whoever_saw_it_due(self, runner, receiver):
        invocation_id = asked(runner, receiver.url)
        (due,) = runner.store.due_callbacks(utc_now())
        assert runner.store.claim_callback(invocation_id, 1, until=utc_now() + callbacks.LEASE)
        callbacks_of(runner).deliver(due)
        assert receiver.received == []
        assert callback(runner, invocation_id).attempts == 1


def is_delivered_beside(runner, receiver, number):
    """Whether one is delivered while so many others, asked for earlier, wait for somebody who does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for _ in range(number):
            asked(runner, f"http://127.0.0.1:{silent.getsockname()[1]}/")
        invocation_id = asked(runner, receiver.url)
        deliverer = callbacks_of(runner)
        deliverer.look()
        wait_until(lambda: callback(runner, invocation_id).state is CallbackState.DELIVERED)
        waiting = deliverer._hosts[f"127.0.0.1:{silent.getsockname()[1]}"]
    deliverer.stop()  # whose attempts end with the server
    return waiting == callbacks.AT_ONCE_TO_ONE_HOST


def test_many_to_one_that_does_not_answer_do_not_hide_the_others(runner, receiver, monkeypatch):
    monkeypatch.setattr(callbacks, "DELIVERY_SECONDS", 60.0)
    monkeypatch.setattr(callbacks, "PAGE", 2)
    assert is_delivered_beside(runner, receiver, 9)


def test_one_that_does_not_answer_leaves_room_for_the_others(runner, receiver, monkeypatch):
    monkeypatch.setattr(callbacks, "DELIVERY_SECONDS", 60.0)
    assert is_delivered_beside(runner, receiver, 12)
