// What all our elements share: they render into the normal document, once per change, and let go of everything at the end.

import { render } from "./vendor.js";

export class AppElement extends HTMLElement {
  #lifetime = null;
  #isScheduled = false;

  connectedCallback() {
    this.#lifetime = new AbortController();
    this.connected(this.#lifetime.signal);
    this.update();
  }

  disconnectedCallback() {
    this.#lifetime.abort();
    this.disconnected();
  }

  /** Called when the element enters the document. The signal aborts when it leaves: hand it to listeners and requests. */
  connected(_signal) {}

  disconnected() {}

  /** Called after each rendering, for what templates cannot say (focus, canvas). */
  updated() {}

  /** Renders soon, once for any number of calls. */
  update() {
    if (this.#isScheduled || !this.isConnected) return;
    this.#isScheduled = true;
    queueMicrotask(() => {
      this.#isScheduled = false;
      if (!this.isConnected) return;
      render(this.template(), this);
      this.updated();
    });
  }

  /** Tells the elements above. */
  tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail, bubbles: true }));
  }
}

/** Registers an element. Each name in its `inputs` becomes a property that renders anew when it changes. */
export function define(tag, element) {
  for (const name of element.inputs ?? []) {
    const key = Symbol(name);
    Object.defineProperty(element.prototype, name, {
      get() {
        return this[key];
      },
      set(value) {
        if (Object.is(this[key], value)) return;
        const before = this[key];
        this[key] = value;
        this.changed?.(name, value, before);
        this.update();
      },
    });
  }
  customElements.define(tag, element);
}
