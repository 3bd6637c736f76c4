"""How gunicorn serves the function runner: one process, because the pool lives in its memory; many threads.

A synchronous call holds its thread until it is answered and a follower until its invocation ends, so there are as many
threads as callers may run or wait and as there may be followers, some more that always answer ``/health``, and those
that wait with a connection that is kept.
"""

import os
import signal
import threading

from connection_worker import MAX_WAITING_THREADS
from function_runner.app import EXTENSION
from function_runner.settings import MAX_FOLLOWERS, Settings

_settings = Settings.from_environment()

bind = os.environ.get("LISTEN", "unix:/run/smlops/runner.sock")
umask = 0o000  # NGINX, another user in another container, must be able to connect; nobody else sees the volume
worker_class = "connection_worker.ConnectionWorker"
workers = 1
threads = _settings.max_concurrency + _settings.queue_limit + MAX_FOLLOWERS + 32 + MAX_WAITING_THREADS
worker_connections = threads + 256
worker_tmp_dir = "/dev/shm"  # noqa: S108 - heartbeat file: must be memory, a slow disk would look like a dead worker
timeout = 120  # without a heartbeat of the worker's main thread, which never serves a request itself
graceful_timeout = 10  # only for what is left after draining, see below
# NGINX bounds the request's line and headers before us; two bounds would mean two kinds of refusals.
limit_request_line = 0
limit_request_fields = 32768
limit_request_field_size = 0
keepalive = 75
accesslog = None  # NGINX writes one
forwarded_allow_ips = "127.0.0.1"  # on a unix socket the peer is NGINX
proc_name = "function-runner"


def when_ready(server):
    """Drain on SIGTERM.

    Gunicorn's own reaction would close the listening socket at once, and whoever comes while the last invocations
    finish would be refused a connection. Instead the worker is told to drain: it answers 503 until it is done and then
    asks this process to stop.
    """

    def drain(_signal, _frame):
        server.is_draining = True
        for pid in list(server.WORKERS):
            os.kill(pid, signal.SIGUSR2)
        if not server.WORKERS:
            os.kill(os.getpid(), signal.SIGQUIT)

    signal.signal(signal.SIGTERM, drain)


def post_worker_init(worker):
    """In the worker: what draining is."""
    house = worker.wsgi.extensions[EXTENSION]
    begun = threading.Event()

    def drain_and_stop():
        try:
            house.drain()
        finally:
            os.kill(worker.ppid, signal.SIGQUIT)

    def on_signal(_signal, _frame):
        if not begun.is_set():
            begun.set()
            threading.Thread(target=drain_and_stop, name="drain").start()

    signal.signal(signal.SIGUSR2, on_signal)


def worker_exit(_server, worker):
    """In the worker, at its end: its threads and files end with it."""
    app = getattr(worker, "wsgi", None)  # there is none when it failed to start
    if app is not None:
        app.extensions[EXTENSION].close()


def child_exit(server, _worker):
    """In the main process, when a worker is gone: while draining that is the end, not a reason to start another.

    A worker that is told to drain before it has finished starting does not know the signal yet and dies of it.
    """
    if getattr(server, "is_draining", False):
        os.kill(os.getpid(), signal.SIGQUIT)
