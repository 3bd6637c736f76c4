import { AppElement, define } from "../element.js";
import { html, nothing } from "../vendor.js";
import "./diagnosis-view.js";

/** A problem in words: its diagnosis or what happened, and the stable code to look it up by. */
class ProblemAlert extends AppElement {
  static inputs = ["problem", "errors"];

  template() {
    const { problem } = this;
    if (!problem) return nothing;
    const { functionError } = problem;
    const errors = this.errors ?? [];
    return html`
      <div class="problem">
        <h3>${problem.title}</h3>
        ${problem.diagnosis ? html`<diagnosis-view .diagnosis=${problem.diagnosis} .detail=${problem.detail}></diagnosis-view>` : nothing}
        ${!problem.diagnosis && problem.detail && problem.detail !== problem.title ? html`<p class="wrap">${problem.detail}</p>` : nothing}
        ${errors.length > 0 ? html`<ul>${errors.map(({ pointer, detail }) => html`<li>${pointer ? html`<code>${pointer}</code> ` : nothing}${detail}</li>`)}</ul>` : nothing}
        ${functionError && functionError.message && !problem.detail.includes(functionError.message) ? html`<p class="wrap"><strong>${functionError.type}</strong>: ${functionError.message}</p>` : nothing}
        <p class="quiet"><code>${problem.code}</code>${problem.status ? html` · HTTP ${problem.status}` : nothing}${problem.retryAfter ? html` · try again in ${problem.retryAfter} s` : nothing}</p>
        ${functionError?.stack_trace?.length ? html`<details class="fold"><summary>Stack trace</summary><pre tabindex="0" role="region" aria-label="Stack trace">${traceText(functionError.stack_trace)}</pre></details>` : nothing}
      </div>`;
  }
}

/** Lines as the Lambda runtime client sends them, with or without their line ends; or one text. */
function traceText(trace) {
  return [trace].flat().map((line) => line.replace(/\n$/, "")).join("\n");
}

define("problem-alert", ProblemAlert);
