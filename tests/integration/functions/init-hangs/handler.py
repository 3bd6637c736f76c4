"""Never gets as far as asking for an invocation."""

import time

print("still importing", flush=True)
time.sleep(3600)
