import { AppElement, define } from "../element.js";
import { poolWords } from "../format.js";
import { html, nothing } from "../vendor.js";
import "./diagnosis-view.js";

/** The containers that a function keeps ready, in one quiet line; when something is wrong with them, what it is. */
class PoolState extends AppElement {
  static inputs = ["pool"];

  template() {
    const { pool } = this;
    if (!pool) return nothing;
    return html`
      <p class="pool-words" data-state=${pool.state} data-tone=${tone(pool)}><span class="dot" aria-hidden="true"></span><span>${words(pool)}</span></p>
      ${pool.diagnosis ? html`<div class="pool-problem"><diagnosis-view .diagnosis=${pool.diagnosis} .detail=${pool.problem}></diagnosis-view></div>` : nothing}
      ${pool.problem && !pool.diagnosis ? html`<p class="pool-problem wrap">${pool.problem}</p>` : nothing}
      ${pool.log_tail?.length ? html`<details class="fold"><summary>Its last log lines</summary><pre tabindex="0" role="region" aria-label="Last log lines">${pool.log_tail.join("\n")}</pre></details>` : nothing}`;
  }
}

function tone({ state, target, ready }) {
  if (state === "ok") return ready > 0 || target === 0 ? "good" : "waiting";
  return { broken: "bad", no_memory: "waiting" }[state] ?? "quiet";
}

function words(pool) {
  const numbers = poolWords(pool);
  if (pool.state === "broken") return "Containers fail before they are used";
  if (pool.state === "no_memory") return `Not enough memory (POOL_MEMORY); ${numbers}`;
  if (pool.state === "off") return ["Each call gets a container made for it", numbers].filter(Boolean).join("; ");
  return numbers;
}

define("pool-state", PoolState);
