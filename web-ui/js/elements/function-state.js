import { AppElement, define } from "../element.js";
import { html, nothing } from "../vendor.js";

const STATES = {
  ready: { word: "Ready", tone: "good" },
  not_built: { word: "Built at the first call", tone: "quiet" },
  building: { word: "Building", tone: "waiting" },
  build_failed: { word: "Build failed", tone: "bad" },
  invalid: { word: "Cannot be used", tone: "bad" },
};
const BROKEN = { word: "Does not start", tone: "bad" };

/** Whether a function can be called right now, as a word and a colour. */
class FunctionState extends AppElement {
  static inputs = ["function"];

  template() {
    const one = this.function;
    if (!one) return nothing;
    const isBroken = one.state === "ready" && one.pool.state === "broken";
    const { word, tone } = isBroken ? BROKEN : STATES[one.state] ?? { word: one.state, tone: "quiet" };
    return html`<span class="status" data-tone=${tone}><span class="dot" aria-hidden="true"></span>${word}</span>`;
  }
}

define("function-state", FunctionState);
