import { address } from "../api.js";
import { AppElement, define } from "../element.js";
import { duration, shortId, startKind, time } from "../format.js";
import { html, nothing, svg } from "../vendor.js";
import "./copy-button.js";

const PHASES = [
  ["queue_ms", "Waiting"],
  ["build_ms", "Image"],
  ["start_ms", "Start"],
  ["run_ms", "Run"],
];

/** Which invocation this was, in which container, how long each part took, and where its log is. Takes an answer or a record. */
class InvocationFacts extends AppElement {
  static inputs = ["invocation", "isPage"];

  template() {
    const { invocation } = this;
    if (!invocation) return nothing;
    const { invocation_id: id, container_name: container, start } = invocation;
    return html`
      ${this.#timings()}
      <dl class="facts">
        <div class=${this.isPage ? "wide" : ""}><dt>Invocation</dt><dd>${this.isPage ? html`<span class="mono wrap">${id}</span> ` : html`<a class="mono" href=${address.invocation(id)} title=${id}>${shortId(id)}</a> `}<copy-button .text=${id} .name=${"invocation id"}></copy-button></dd></div>
        ${container ? html`<div><dt>Container</dt><dd class="mono wrap">${container}</dd></div>` : nothing}
        ${start ? html`<div><dt>Start</dt><dd>${startKind(start)}</dd></div>` : nothing}
        ${invocation.created_at && this.isPage ? html`<div><dt>Received</dt><dd>${time(invocation.created_at)}</dd></div>` : nothing}
        ${typeof invocation.max_memory_mb === "number" ? html`<div><dt>Memory</dt><dd>${Math.round(invocation.max_memory_mb)}${invocation.memory_limit_mb ? ` of ${invocation.memory_limit_mb}` : ""} MB</dd></div>` : nothing}
        ${typeof invocation.exit_code === "number" && invocation.exit_code !== 0 && invocation.status !== "succeeded" ? html`<div><dt>Exit code</dt><dd>${invocation.exit_code}</dd></div>` : nothing}
        ${this.isPage ? nothing : html`<div><dt>Log</dt><dd><a href=${address.invocation(id)}>Show</a> · <a href=${address.log(id)} target="_blank" rel="noopener">Plain text</a></dd></div>`}
      </dl>`;
  }

  #timings() {
    const timings = this.invocation.timings ?? {};
    const parts = PHASES.filter(([name]) => timings[name] >= 0.5).map(([name, label]) => ({ name, label, value: timings[name] }));
    if (parts.length === 0) return nothing;
    const sum = parts.reduce((total, part) => total + part.value, 0) || 1;
    let at = 0;
    const placed = parts.map((part) => {
      const share = (part.value / sum) * 100;
      const placedPart = { ...part, x: at, share };
      at += share;
      return placedPart;
    });
    return html`<div class="timings">
      <svg class="timing-bar" height="8" aria-hidden="true">${placed.map((part) => svg`<rect data-phase=${part.name} x=${`${part.x}%`} width=${`${part.share}%`} height="8"></rect>`)}</svg>
      <dl>
        ${placed.map((part) => html`<div><dt><span class="swatch" data-phase=${part.name} aria-hidden="true"></span>${part.label}</dt><dd>${duration(part.value)}</dd></div>`)}
        ${typeof timings.total_ms === "number" ? html`<div class="total"><dt>Total</dt><dd>${duration(timings.total_ms)}</dd></div>` : nothing}
      </dl>
    </div>`;
  }
}

define("invocation-facts", InvocationFacts);
