// What elements share that show how things are right now: they look again and again, and keep what they saw when a look fails.

import { AppElement } from "./element.js";
import { poll } from "./poll.js";

// A call that has just been sent needs a moment until it is on record.
const RECORDED_AFTER_MS = 400;

export class WatchingElement extends AppElement {
  /** Why the last look failed; null when it did not. */
  problem = null;
  #look = null;

  /** Asks the runner and keeps the answer; what it throws becomes the `problem`. The element is rendered after it. */
  async read(_signal) {}

  /** Whether it makes sense to look again soon after this problem. */
  mayPass(_problem) {
    return true;
  }

  /** Looks now and then every `every()` milliseconds until `signal` aborts; and after any of these events, or when the runner is back. */
  watch(every, signal, events = []) {
    this.#look = poll((attempt) => this.#attempt(attempt), every, signal);
    for (const type of [...events, "runner:back"]) {
      const pause = type === "invocation:started" ? RECORDED_AFTER_MS : 0;
      document.addEventListener(type, () => setTimeout(() => this.look(), pause), { signal });
    }
  }

  /** Looks at once, dropping the request in flight. Before the element watches there is nothing to do: its first look is to come. */
  look() {
    this.#look?.();
  }

  async #attempt(signal) {
    try {
      await this.read(signal);
      this.problem = null;
    } catch (error) {
      if (signal.aborted) return;
      this.problem = error;
      if (error.isConnectionTrouble) this.tell("runner:unreachable");
      if (this.mayPass(error)) throw error;
    } finally {
      if (!signal.aborted) this.update();
    }
  }
}
