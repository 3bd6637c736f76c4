import { AppElement, define } from "../element.js";
import { duration, time } from "../format.js";
import { html, nothing } from "../vendor.js";
import "./status-badge.js";

/** The states an invocation went through, each with its moment and how long after the call that was. */
class InvocationStates extends AppElement {
  static inputs = ["events", "since"];

  template() {
    const events = this.events ?? [];
    if (events.length === 0) return nothing;
    const isRepeated = events.some(({ attempt }) => attempt > 1);
    return html`
      <h3>States</h3>
      <ol class="states">${events.map((one) => html`<li>
        <status-badge .status=${one.status}></status-badge>
        ${isRepeated ? html`<span class="quiet">attempt ${one.attempt}</span>` : nothing}
        <time class="quiet numeral" datetime=${one.at} title=${time(one.at)}>after ${duration(Math.max(0, Date.parse(one.at) - Date.parse(this.since)))}</time>
      </li>`)}</ol>`;
  }
}

define("invocation-states", InvocationStates);
