"""Gunicorn's worker with threads, in which a connection stays with its thread between two requests.

Gunicorn hands each request from the thread that watches all connections to one that serves it, and the connection back
afterwards. NGINX keeps its connections open and uses the same few again and again, so here the thread that has
answered waits for the connection's next request itself: two changes of threads less for each request.
"""

import select
import threading
import time

from gunicorn.workers.gthread import TConn, ThreadWorker

# So many threads may wait in this way, no more: there must be threads for everybody who calls.
MAX_WAITING_THREADS = 32
LOOK_SECONDS = 0.5  # how long it takes a waiting thread to notice that the worker stops


class ConnectionWorker(ThreadWorker):
    """Set as ``worker_class`` in gunicorn.conf.py, which counts `MAX_WAITING_THREADS` among the threads."""

    def __init__(self, *arguments, **keywords):
        super().__init__(*arguments, **keywords)
        self._waiting_threads = 0
        self._waiting_lock = threading.Lock()

    def handle(self, conn: TConn) -> object:
        """Serve requests of this connection for as long as they come. Runs in a thread of the pool.

        What is returned says what becomes of the connection, as with gunicorn: true is watched for its next request.
        """
        while True:
            fate = super().handle(conn)
            if fate is not True or not self._next_request_comes(conn):
                return fate

    def _next_request_comes(self, conn: TConn) -> bool:
        """Wait until there is something to read. False: somebody else should wait."""
        if conn.parser.unreader.buf.getvalue():
            return False  # a part of it has been read already, which gunicorn knows how to go on with
        with self._waiting_lock:
            if self._waiting_threads >= MAX_WAITING_THREADS:
                return False
            self._waiting_threads += 1
        try:
            conn.set_timeout()
            poll = select.poll()
            poll.register(conn.sock, select.POLLIN)
            while self.alive and time.monotonic() < conn.timeout:
                if poll.poll(LOOK_SECONDS * 1000):
                    return True  # or it was closed, which is gunicorn's to find out
            return False
        finally:
            with self._waiting_lock:
                self._waiting_threads -= 1
