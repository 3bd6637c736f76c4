"""Writes what depends on the settings to /tmp/nginx, where the configuration includes it, then becomes NGINX.

Refuses to start when others could reach the house without credentials.
"""

import base64
import hashlib
import ipaddress
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

CONFIGURATION = "/etc/nginx/house/nginx.conf"
DIRECTORY = Path("/tmp/nginx")  # noqa: S108 - a tmpfs of this container alone
LOCAL_NAMES = ["localhost", "127.0.0.1", "[::1]"]
HOST_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?|\[[0-9a-f:.]+\]")


class Refused(Exception):
    """The settings cannot be used."""


def main() -> None:
    """Write the files and run NGINX in this process's place."""
    try:
        files = render(os.environ)
    except Refused as refusal:
        sys.exit(f"NGINX does not start: {refusal}")
    DIRECTORY.mkdir(mode=0o700, exist_ok=True)
    for name, text in files.items():
        path = DIRECTORY / name
        path.write_text(text)
        path.chmod(0o600)
    os.execvp("nginx", ["nginx", "-c", CONFIGURATION, "-g", "daemon off;"])


def render(environment: Mapping[str, str]) -> dict[str, str]:
    """File name to text.

    Raises:
        Refused: a host name is not one, or the address is not a loopback one and nobody has to log in.
    """
    address = environment.get("BIND_ADDRESS", "").strip() or "127.0.0.1"
    user = environment.get("HTTP_USER", "")
    password = environment.get("HTTP_PASSWORD", "")
    size = environment.get("REQUEST_MAX_BYTES", "").strip() or str(1024 * 1024)
    if not size.isdecimal():
        raise Refused(f"REQUEST_MAX_BYTES is '{size}', not a number of bytes.")
    if bool(user) != bool(password):
        raise Refused("HTTP_USER and HTTP_PASSWORD belong together; only one is set.")
    if not is_loopback(address) and not user:
        raise Refused(f"BIND_ADDRESS is {address}, which others can reach: set HTTP_USER and HTTP_PASSWORD as well.")
    if user and (":" in user or not user.isprintable() or not password.isprintable()):
        raise Refused("HTTP_USER may not contain a colon, and neither it nor HTTP_PASSWORD control characters.")

    return {
        "server-names.conf": f"server_name {' '.join(host_names(address, environment.get('PUBLIC_HOSTS', '')))};\n",
        "limits.conf": f"client_max_body_size {size};\n",
        "login.conf": 'auth_basic "smlops";\nauth_basic_user_file /tmp/nginx/users;\n' if user else "",
        "users": f"{user}:{salted_sha1(password)}\n" if user else "",
    }


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches the address."""
    if address == "localhost":
        return True
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        raise Refused(f"BIND_ADDRESS is '{address}', not an IP address.") from None


def host_names(address: str, public_hosts: str) -> list[str]:
    """The names under which this house may be called, each once."""
    names = [name.strip().lower() for name in public_hosts.split(",") if name.strip()]
    for name in names:
        if not HOST_NAME.fullmatch(name):
            raise Refused(f"PUBLIC_HOSTS contains '{name}', which is not a host name (no scheme, port or wildcard).")
    if not ipaddress_is_any(address):
        names.append(address)
    return list(dict.fromkeys(LOCAL_NAMES + names))


def ipaddress_is_any(address: str) -> bool:
    """0.0.0.0 and its like: all addresses, so none to be called by."""
    return address.strip("[]") in {"0.0.0.0", "::"}  # noqa: S104 - a comparison


def salted_sha1(password: str) -> str:
    """NGINX's {SSHA}: cheap enough for every request; the file never leaves this container's memory."""
    salt = os.urandom(16)
    digest = hashlib.sha1(password.encode() + salt).digest()  # noqa: S324 - the only salted hash NGINX computes itself
    return "{SSHA}" + base64.b64encode(digest + salt).decode()


if __name__ == "__main__":
    main()
