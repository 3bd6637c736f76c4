"""Exits while it is imported."""

import sys

print("leaving before the first invocation", flush=True)
sys.exit(7)
