"""Who may ask: only under our own names, and never a page of another origin.

NGINX checks both as well. The second check is here because the first is configuration.
"""

from urllib.parse import urlsplit

from flask import Request

from function_runner.errors import ForbiddenOrigin, MisdirectedRequest

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OUR_OWN_PAGES = frozenset({"same-origin", "none"})  # "none": typed, bookmarked, or not from a page at all


class Guard:
    """Refuses requests by their Host, Origin and Sec-Fetch-Site."""

    def __init__(self, allowed_hosts: tuple[str, ...]) -> None:
        self._allowed = frozenset(_without_port(host.lower()) for host in allowed_hosts)

    def check(self, request: Request) -> None:
        """Refuse the request, or let it pass.

        Raises:
            MisdirectedRequest: its Host is none of ours; that is how a page gets here by rebinding its own name.
            ForbiddenOrigin: a page of another origin wants to change something.
        """
        # Not `request.host`: it invents a name when there is none.
        host = str(request.environ.get("HTTP_HOST", "")).lower()
        if _without_port(host) not in self._allowed:
            raise MisdirectedRequest(
                "This server does not answer for the host name in the request. "
                "Names it should answer for belong into PUBLIC_HOSTS."
            )
        if request.method in SAFE_METHODS:
            return
        site = request.headers.get("Sec-Fetch-Site")
        origin = request.headers.get("Origin")
        if (site is not None and site not in OUR_OWN_PAGES) or (origin is not None and not _same(origin, host)):
            raise ForbiddenOrigin


def _same(origin: str, host: str) -> bool:
    """True when the page's origin is this host. NGINX passes the host without its port and compares that itself."""
    try:
        parts = urlsplit(origin.lower())
        port = parts.port
    except ValueError:
        return False
    if parts.scheme not in ("http", "https") or origin.lower() != f"{parts.scheme}://{parts.netloc}":
        return False
    if _without_port(parts.netloc) != _without_port(host):
        return False
    return host == _without_port(host) or host == parts.netloc or (port is None and host.endswith((":80", ":443")))


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and not name.endswith(":") else host
