// Following an invocation: its status, its progress and its log as they happen, over one connection that mends itself.

import { address } from "./api.js";

const FIRST_PAUSE = 1000;
const SLOWEST = 10_000;

/**
 * Calls `on.status(data)`, `on.progress(data)`, `on.log({text})` and at last `on.end(data)` for everything that happens to the
 * invocation, until its end or until `signal` aborts; `on.trouble()` when the connection is lost. Begins with the last `lines`
 * lines of the log. While nobody looks at the page there is no connection; what was missed comes afterwards.
 */
export function follow(id, lines, on, signal) {
  let source = null;
  let lastId = null;
  let failures = 0;
  let timer = null;

  function stop() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  function connect() {
    stop();
    if (signal.aborted || document.visibilityState !== "visible") return;
    source = new EventSource(address.live(id, lines, lastId));
    for (const kind of ["status", "progress", "log", "end"]) {
      source.addEventListener(kind, (event) => {
        failures = 0;
        lastId = event.lastEventId;
        // The server closes the connection after the end; a browser would take that for a loss and connect again.
        if (kind === "end") finish();
        on[kind](JSON.parse(event.data));
      });
    }
    source.addEventListener("error", () => {
      on.trouble();
      // A lost connection is mended by the browser; one that was refused is not.
      if (source?.readyState !== EventSource.CLOSED) return;
      failures += 1;
      timer = setTimeout(connect, Math.min(FIRST_PAUSE * 2 ** (failures - 1), SLOWEST));
    });
  }

  const hidden = new AbortController();
  function finish() {
    hidden.abort();
    stop();
  }

  document.addEventListener("visibilitychange", () => (document.visibilityState === "visible" ? connect() : stop()), { signal: hidden.signal });
  signal.addEventListener("abort", finish);
  connect();
}
