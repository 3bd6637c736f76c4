import { AppElement, define } from "../element.js";
import { html, nothing } from "../vendor.js";
import "./invocation-facts.js";
import "./log-pane.js";
import "./problem-alert.js";
import "./result-view.js";
import "./trial-list.js";

/** How one call ended: its result or its problem, and the facts of the invocation behind it, when there was one. `parameters` are what was asked, if the invocation does not say. */
class InvocationResult extends AppElement {
  static inputs = ["invocation", "problem", "errors", "parameters"];

  template() {
    const { invocation, problem } = this;
    if (problem) {
      return html`
        <problem-alert .problem=${problem} .errors=${this.errors ?? problem.errors}></problem-alert>
        ${problem.invocationId ? html`<invocation-facts .invocation=${invocation ?? factsOf(problem)}></invocation-facts>` : nothing}
        ${problem.invocationId && problem.containerName ? html`<log-pane .invocationId=${problem.invocationId} .status=${"failed"} .container=${problem.containerName}></log-pane>` : nothing}`;
    }
    if (!invocation) return nothing;
    const isSearch = Number.isInteger(invocation.result?.n_trials);
    return html`
      <result-view .result=${invocation.result} .parameters=${this.parameters ?? invocation.parameters}></result-view>
      ${isSearch ? html`<trial-list .invocationId=${invocation.invocation_id}></trial-list>` : nothing}
      <invocation-facts .invocation=${invocation}></invocation-facts>`;
  }
}

function factsOf(problem) {
  return { invocation_id: problem.invocationId, container_name: problem.containerName };
}

define("invocation-result", InvocationResult);
