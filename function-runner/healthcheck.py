"""Asks the runner for its health over the socket that NGINX uses; ends non-zero when it does not answer 200."""

import socket
import sys

with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
    connection.settimeout(4)
    connection.connect("/run/smlops/runner.sock")
    connection.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    status_line = connection.recv(64)

sys.exit(b" 200 " not in status_line)
