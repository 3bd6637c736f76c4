"""What a callback may be: where it may go, how it is signed, when it is tried again. Pure.

A callback makes this machine call an address that somebody else chose. What must not come of that is a call to
something that only this machine can reach: so it is the address of the peer that is judged, not its name, and only
those of the public Internet pass, unless CALLBACK_ALLOWED_HOSTS says otherwise.
"""

import base64
import hashlib
import hmac
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from function_runner.errors import CallbackRefused, FieldError, SettingsError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PORTS = {"http": 80, "https": 443}

# Pauses between attempts, in seconds: 10 s, 40 s, 160 s, … and at most an hour; 8 attempts take up to three hours.
FIRST_PAUSE = 10.0
PAUSE_FACTOR = 4.0
LONGEST_PAUSE = 3600.0
MAX_ATTEMPTS = 8

# IPv6 addresses in which an IPv4 address is hidden that a gateway would go on to.
_TRANSLATED = tuple(
    ip_network(network) for network in ("2002::/16", "2001::/32", "64:ff9b::/96", "64:ff9b:1::/48", "::/96")
)
_PRINTABLE = re.compile(r"[!-~]+", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9._-]{1,253}|[0-9A-Fa-f:.]{2,45}", re.ASCII)


@dataclass(frozen=True)
class Target:
    """A callback's URL, in its parts."""

    scheme: str
    host: str  # without brackets
    port: int
    path: str  # with the query


class Targets:
    """Which targets are allowed."""

    def __init__(self, allowed: Iterable[str] = (), own: Iterable[Network] = ()) -> None:
        """Nothing is looked up.

        Args:
            allowed: what may be called although it is not public: host, host:port, address or network, each.
            own: networks that are never public, whatever their addresses look like.

        Raises:
            SettingsError: an entry is none of these.
        """
        self._networks: list[Network] = []
        self._hosts: set[tuple[str, int | None]] = set()
        self._own = tuple(own)
        for entry in allowed:
            self._allow(entry)

    def parse(self, url: str) -> Target:
        """The URL's parts, as far as it can be judged without asking anybody.

        Raises:
            CallbackRefused: it is no URL that a callback may have, or its host is an address that is not allowed.
        """
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme.lower(), parts.hostname or "", parts.port
        except ValueError as error:
            raise _refused(f"is not a URL: {error}") from error
        if scheme not in PORTS:
            raise _refused("must begin with http:// or https://")
        if not _PRINTABLE.fullmatch(url) or "\\" in url:
            raise _refused("has characters that must be percent-encoded")
        if "@" in parts.netloc:
            raise _refused("must not carry a user name or password")
        if parts.fragment:
            raise _refused("must not have a fragment: it would not be sent")
        if not _HOST.fullmatch(host) or port == 0:
            raise _refused("names no host")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        target = Target(scheme, host, PORTS[scheme] if port is None else port, path)
        address = _as_address(host)
        if address is not None and not self.allows(target, address):
            raise _refused(not_allowed(address))
        return target

    def allows(self, target: Target, address: Address) -> bool:
        """Whether ``address``, which the target's host name stands for, may be called."""
        host = _normal(target.host)
        if (host, None) in self._hosts or (host, target.port) in self._hosts:
            return True
        real = _unmapped(address)
        if any(real in network for network in self._networks):
            return True
        return _is_public(real) and not any(real in network for network in self._own)

    def _allow(self, entry: str) -> None:
        try:
            if "/" in entry:
                self._networks.append(ip_network(entry, strict=False))
                return
            address = _as_address(entry)
            if address is not None:
                self._hosts.add((str(address), None))
                return
            parts = urlsplit(f"//{entry}")
            if parts.netloc != entry or "@" in entry or not _HOST.fullmatch(parts.hostname or ""):
                raise ValueError
            self._hosts.add((_normal(parts.hostname or ""), parts.port))
        except ValueError as error:
            raise SettingsError(
                f"The settings cannot be used. CALLBACK_ALLOWED_HOSTS: {entry!r} is none of host, host:port, address "
                "and network (such as 192.168.1.0/24)"
            ) from error


def not_allowed(address: Address) -> str:
    """Why an address is refused, in words."""
    return f"leads to {address}, which is not a public address; CALLBACK_ALLOWED_HOSTS can allow it"


def signature(key: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """The header ``webhook-signature``, as https://www.standardwebhooks.com describes it."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def next_try(attempts: int, now: datetime, *, chance: float | None = None) -> datetime | None:
    """When to try again after so many attempts failed; None: not at all.

    Args:
        chance: for tests; 0 to 1, default: at random.
    """
    if attempts >= MAX_ATTEMPTS:
        return None
    pause = min(FIRST_PAUSE * PAUSE_FACTOR ** (attempts - 1), LONGEST_PAUSE)
    share = random.random() if chance is None else chance  # noqa: S311 - no secret
    return now + timedelta(seconds=pause * (0.5 + share / 2))


def _refused(reason: str) -> CallbackRefused:
    return CallbackRefused(f"The callback_url {reason}.", errors=[FieldError("/callback_url", reason)])


def _as_address(host: str) -> Address | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _normal(host: str) -> str:
    """One spelling for each host."""
    address = _as_address(host)
    return str(address) if address is not None else host.lower().rstrip(".")


def _unmapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 socket shows as ``::ffff:…``."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address) and (
        address.is_site_local or any(address in network for network in _TRANSLATED)
    ):
        return False
    return address.is_global and not (
        address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )
