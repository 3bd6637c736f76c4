// Asking again, gently: only while the page is looked at, one request at a time, more slowly while it fails.

const SLOWEST = 10_000;

/**
 * Runs `task(signal)` now and then every `every()` milliseconds until `signal` aborts. A task that throws is tried again after
 * longer and longer pauses. Returns a function that runs it at once, dropping the request in flight.
 */
export function poll(task, every, signal) {
  let timer = null;
  let inFlight = null;
  let failures = 0;

  async function run() {
    clearTimeout(timer);
    inFlight?.abort();
    const current = (inFlight = new AbortController());
    let failed = false;
    try {
      await task(AbortSignal.any([signal, current.signal]));
    } catch {
      // The task has shown its problem itself; here it only slows the pace.
      failed = true;
    }
    if (current !== inFlight || signal.aborted) return;
    inFlight = null;
    failures = failed ? failures + 1 : 0;
    const pause = failures === 0 ? every() : Math.min(1000 * 2 ** (failures - 1), SLOWEST);
    timer = setTimeout(() => document.visibilityState === "visible" && run(), pause);
  }

  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && run(), { signal });
  signal.addEventListener("abort", () => clearTimeout(timer));
  run();
  return run;
}
