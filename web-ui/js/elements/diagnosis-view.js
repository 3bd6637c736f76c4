import { AppElement, define } from "../element.js";
import { prose } from "../prose.js";
import { html, nothing } from "../vendor.js";

/** Why something failed, in plain words: what happened, what to do now, and what shows it. The error itself is one click away. */
class DiagnosisView extends AppElement {
  static inputs = ["diagnosis", "detail"];

  template() {
    const { diagnosis, detail } = this;
    if (!diagnosis) return nothing;
    const evidence = diagnosis.evidence ?? [];
    return html`
      <p class="wrap">${prose(diagnosis.cause)}</p>
      <p class="wrap"><strong>What to do:</strong> ${prose(diagnosis.next_step)}</p>
      ${evidence.length > 0 ? html`<pre tabindex="0" role="region" aria-label="What shows it">${evidence.join("\n")}</pre>` : nothing}
      ${detail ? html`<details class="fold"><summary>The error itself</summary><p class="wrap">${detail}</p></details>` : nothing}`;
  }
}

define("diagnosis-view", DiagnosisView);
