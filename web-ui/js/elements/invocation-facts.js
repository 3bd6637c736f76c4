import { address } from "../api.js";
import { AppElement, define } from "../element.js";
import { shortId } from "../format.js";
import { html, nothing } from "../vendor.js";
import "./copy-button.js";
import "./invocation-timings.js";

/** Which invocation this was, in which container, how long each part took, and where its log is. Takes an answer or a record. */
class InvocationFacts extends AppElement {
  static inputs = ["invocation", "isPage"];

  template() {
    const { invocation } = this;
    if (!invocation) return nothing;
    const { invocation_id: id, container_name: container, start } = invocation;
    return html`
      <invocation-timings .start=${start} .timings=${invocation.timings}></invocation-timings>
      <dl class="facts">
        <div class=${this.isPage ? "wide" : ""}><dt>Invocation</dt><dd>${this.isPage ? html`<span class="mono wrap">${id}</span> ` : html`<a class="mono" href=${address.invocation(id)} title=${id}>${shortId(id)}</a> `}<copy-button .text=${id} .name=${"invocation id"}></copy-button></dd></div>
        ${container ? html`<div><dt>Container</dt><dd class="mono wrap">${container}</dd></div>` : nothing}
        ${typeof invocation.max_memory_mb === "number" ? html`<div><dt>Memory</dt><dd>${Math.round(invocation.max_memory_mb)}${invocation.memory_limit_mb ? ` of ${invocation.memory_limit_mb}` : ""} MB</dd></div>` : nothing}
        ${typeof invocation.exit_code === "number" && invocation.exit_code !== 0 && invocation.status !== "succeeded" ? html`<div><dt>Exit code</dt><dd>${invocation.exit_code}</dd></div>` : nothing}
        ${this.isPage || !container ? nothing : html`<div><dt>Log</dt><dd><a href=${address.invocation(id)}>Show</a> · <a href=${address.log(id)} target="_blank" rel="noopener">Plain text</a></dd></div>`}
      </dl>`;
  }
}

define("invocation-facts", InvocationFacts);
