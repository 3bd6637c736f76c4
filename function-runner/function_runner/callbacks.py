"""Tells those who asked for it how an invocation ended: POSTs its record to the callback's URL, signed.

What is to be delivered is a row, written by the commit that accepted the invocation, so that neither a crash nor a
restart loses it: **at least once**. Who gets the same `webhook-id` twice has seen it before.
"""

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from function_runner import __version__
from function_runner.callback_rules import (
    MAX_ATTEMPTS,
    PORTS,
    Address,
    Target,
    Targets,
    next_try,
    not_allowed,
    signature,
)
from function_runner.errors import CallbackRefused, RunnerError
from function_runner.invocation import CallbackState, Event, Invocation, utc_now
from function_runner.metrics import Metrics
from function_runner.rounds import Rounds
from function_runner.settings import Settings
from function_runner.store import DueCallback, Store

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
CONNECT_SECONDS = 5.0
DELIVERY_SECONDS = 15.0  # for one attempt, all in all
LEASE = timedelta(seconds=120)  # after which an attempt whose runner died is made by another one
AT_ONCE = 4  # each holds a record in memory, whose result may be large
PAGE = 1000  # callbacks that are looked at together
PAGES = 20  # of them in one look, where the first ones cannot begin
AT_ONCE_TO_ONE_HOST = 2  # so that one that does not answer leaves room for the others
STOP_SECONDS = 5.0

GONE = 410  # whoever was there does not want to be called any more
ROUTES = Path("/proc/net/route")


class NotDelivered(Exception):
    """An attempt failed; another one may not."""


class Refused(NotDelivered):
    """So would any other one."""


class Callbacks:
    """Delivers in the background: looks once a second what is due, and makes each attempt in a thread of its own."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        metrics: Metrics,
        render: Callable[[Invocation, Sequence[Event]], bytes],
        *,
        now: Callable[[], datetime] = utc_now,
    ) -> None:
        """``render``: a record, and the states it went through, as the API shows them."""
        self._key = settings.callback_key
        self._targets = Targets(settings.callback_allowed_hosts, own_networks())
        self._store = store
        self._metrics = metrics
        self._render = render
        self._now = now
        self._changed = threading.Condition()
        self._under_way: set[str] = set()  # invocations whose callback is being delivered; guarded by the condition
        self._hosts: Counter[str] = Counter()  # that are called right now; guarded by the condition
        self._rounds = Rounds(
            "callbacks", self.look, pause=lambda: LOOK_SECONDS, first_pause=0, failure="callbacks_failed"
        )

    def start(self) -> None:
        """Deliver until `stop`."""
        self._rounds.start()

    def stop(self) -> None:
        """Begin no further attempt, and give those under way a moment. What is cut off is sent again later."""
        self._rounds.stop()
        with self._changed:
            self._changed.wait_for(lambda: not self._under_way, timeout=STOP_SECONDS)

    def look(self) -> None:
        """Begin what is due, as far as there is room."""
        now = self._now()
        # Further than the first page: all of them may be for one host that does not answer.
        last = None
        for _ in range(PAGES):
            with self._changed:
                if len(self._under_way) >= AT_ONCE or self._rounds.is_stopped:
                    return
            found = self._store.due_callbacks(now, limit=PAGE, after=last)
            for due in found:
                if self._take(due):
                    threading.Thread(target=self._attend, args=(due,), name="callback", daemon=True).start()
            if len(found) < PAGE:
                return
            last = found[-1]

    def deliver(self, due: DueCallback) -> None:
        """One attempt, and what comes of it in the record. Does nothing when somebody else has made it meanwhile."""
        invocation = self._store.get(due.invocation_id)
        callback = invocation.callback if invocation is not None else None
        if invocation is None or callback is None or callback.state is not CallbackState.PENDING:
            return  # deleted, or delivered, while it waited for its turn
        # The number it had when it was due: by now, there may be one more, which is under way.
        attempts = due.attempts + 1
        if due.attempts >= MAX_ATTEMPTS:  # the runner that made the last one died
            self._note(invocation, CallbackState.FAILED, callback.last_error or "the last attempt was cut off")
            return
        if not self._store.claim_callback(invocation.id, attempts, until=self._now() + LEASE):
            return
        try:
            self._post(invocation, callback.url)
        except NotDelivered as error:
            next_at = None if isinstance(error, Refused) else next_try(attempts, self._now())
            state = CallbackState.PENDING if next_at is not None else CallbackState.FAILED
            self._note(invocation, state, str(error), next_at=next_at)
        else:
            self._note(invocation, CallbackState.DELIVERED)

    def _take(self, due: DueCallback) -> bool:
        host = _host_of(due)
        with self._changed:
            if due.invocation_id in self._under_way or len(self._under_way) >= AT_ONCE:
                return False
            if self._hosts[host] >= AT_ONCE_TO_ONE_HOST:
                return False
            self._under_way.add(due.invocation_id)
            self._hosts[host] += 1
        return True

    def _attend(self, due: DueCallback) -> None:
        host = _host_of(due)
        try:
            self.deliver(due)
        except RunnerError as error:  # the database is away; what was sent is sent again
            log.warning("callback not noted: %s", error, extra={"action": "callback_not_noted"})
        except Exception:  # an edge: nobody looks at what this thread raises; it is tried again after the lease
            log.exception("callback failed", extra={"action": "callbacks_failed", "invocation_id": due.invocation_id})
        finally:
            with self._changed:
                self._under_way.discard(due.invocation_id)
                self._hosts[host] -= 1
                if not self._hosts[host]:
                    del self._hosts[host]
                self._changed.notify_all()
            self._rounds.wake()

    def _post(self, invocation: Invocation, url: str) -> None:
        """Send it. Returns when the receiver has said that it has it.

        Raises:
            NotDelivered: it has not, or nobody can know.
        """
        try:
            target = self._targets.parse(url)
        except CallbackRefused as error:
            raise Refused(error.detail) from error
        body = self._render(invocation, self._store.events(invocation.id))
        timestamp = int(self._now().timestamp())
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"function-runner/{__version__}",
            "webhook-id": invocation.id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature(self._key, invocation.id, timestamp, body),
            "Connection": "close",
        }
        status = self._status_of_answer(target, body, headers)
        if status == GONE:
            raise Refused("the receiver answered 410: it does not want to be called any more")
        if not 200 <= status < 300:  # a redirect is not followed
            raise NotDelivered(f"the receiver answered {status}")

    def _status_of_answer(self, target: Target, body: bytes, headers: dict[str, str]) -> int:
        """What the receiver says. Of its answer, only the status and the headers are read."""
        deadline = time.monotonic() + DELIVERY_SECONDS
        connection = HTTPConnection(target.host, target.port)
        connection.default_port = PORTS[target.scheme]  # is not named in the header Host
        try:
            # Connected here and not by the library, which would ask for the name's addresses behind our back.
            connection.sock = self._connect(target, deadline)
            with _cut_off(connection.sock, deadline):
                connection.request("POST", target.path, body=body, headers=headers)
                status = connection.getresponse().status
                if time.monotonic() >= deadline:  # what was cut off looks like an end
                    raise TimeoutError
                return status
        except TimeoutError as error:
            raise NotDelivered(f"no answer within {DELIVERY_SECONDS:g} s") from error
        except ssl.SSLCertVerificationError as error:
            raise NotDelivered(f"its certificate is not trusted: {error.verify_message}") from error
        except (OSError, HTTPException) as error:
            if time.monotonic() >= deadline:
                raise NotDelivered(f"no answer within {DELIVERY_SECONDS:g} s") from error
            raise NotDelivered(f"the connection failed: {_words(error)}") from error
        finally:
            connection.close()

    def _connect(self, target: Target, deadline: float) -> socket.socket:
        """A connection to one of the host's addresses that are allowed; encrypted where the URL says so."""
        plain = self._connect_to_any(target, deadline)
        if target.scheme == "http":
            return plain
        try:
            plain.settimeout(max(0.1, deadline - time.monotonic()))
            return ssl.create_default_context().wrap_socket(plain, server_hostname=target.host)
        except BaseException:
            plain.close()
            raise

    def _connect_to_any(self, target: Target, deadline: float) -> socket.socket:
        try:
            found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            raise NotDelivered(f"the host {target.host} is not known") from error
        addresses = list(dict.fromkeys((family, where) for family, _, _, _, where in found))
        allowed = [(family, where) for family, where in addresses if self._targets.allows(target, _address(where))]
        if not allowed:
            # Nothing is sent there, not even a first packet: how it reacts would tell who listens.
            raise Refused(f"the callback_url {not_allowed(_address(addresses[0][1]))}")
        failure: OSError = TimeoutError()
        for family, where in allowed:
            connection = socket.socket(family, socket.SOCK_STREAM)
            try:
                connection.settimeout(max(0.1, min(CONNECT_SECONDS, deadline - time.monotonic())))
                connection.connect(where)
                peer = _address(connection.getpeername())
                if not self._targets.allows(target, peer):  # whoever it is that answers
                    raise Refused(f"the callback_url {not_allowed(peer)}")
            except OSError as error:
                connection.close()
                failure = error
            except BaseException:
                connection.close()
                raise
            else:
                return connection
        raise failure

    def _note(
        self,
        invocation: Invocation,
        state: CallbackState,
        error: str | None = None,
        *,
        next_at: datetime | None = None,
    ) -> None:
        self._store.note_callback(
            invocation.id,
            state=state,
            last_error=error,
            next_at=next_at,
            delivered_at=self._now() if state is CallbackState.DELIVERED else None,
        )
        result = "retried" if state is CallbackState.PENDING else str(state)
        self._metrics.callback(result)
        # Without the URL: it may hold something secret.
        log.log(
            logging.INFO if error is None else logging.WARNING,
            "callback of %s %s%s",
            invocation.function,
            result,
            f": {error}" if error else "",
            extra={"action": f"callback_{result}", "invocation_id": invocation.id, "function": invocation.function},
        )


def own_networks(routes: Path = ROUTES) -> list[IPv4Network]:
    """The networks that this process is on: what can be reached without a gateway."""
    try:
        lines = routes.read_text().splitlines()[1:]
    except OSError:  # not Linux
        return []
    found = []
    for line in lines:
        _, destination, gateway, _, _, _, _, mask, *_ = line.split()
        if int(gateway, 16) == 0 and int(mask, 16) != 0:
            # Written as the machine keeps them: the last byte first.
            network, bits = (bytes.fromhex(text)[::-1] for text in (destination, mask))
            found.append(IPv4Network((network, int.from_bytes(bits).bit_count())))
    return found


@contextmanager
def _cut_off(connection: socket.socket, deadline: float) -> Iterator[None]:
    """Until the deadline and no longer: one that sends a byte now and then would never time out."""

    def shut() -> None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)

    remaining = max(0.1, deadline - time.monotonic())
    connection.settimeout(remaining)
    timer = threading.Timer(remaining, shut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _address(where: tuple[Any, ...]) -> Address:
    """The address in what the socket module calls one."""
    return ip_address(str(where[0]).partition("%")[0])


def _host_of(due: DueCallback) -> str:
    return urlsplit(due.url).netloc.lower()


def _words(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).lower()
