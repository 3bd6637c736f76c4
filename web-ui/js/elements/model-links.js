import { address } from "../api.js";
import { AppElement, define } from "../element.js";
import { duration } from "../format.js";
import { html, nothing } from "../vendor.js";

/** What a result made or used in MLflow, linked into its pages. */
class ModelLinks extends AppElement {
  static inputs = ["result"];

  template() {
    const { training_time_seconds: seconds, model_uri: uri, model_name: name, model_version: version, run_id: run, experiment_id: experiment } = this.result ?? {};
    return html`<dl class="facts">
      ${typeof seconds === "number" ? html`<div><dt>Training time</dt><dd>${duration(seconds * 1000)}</dd></div>` : nothing}
      ${uri ? html`<div><dt>Model</dt><dd>${name && version ? html`<a href=${address.modelVersion(name, version)}>${uri}</a>` : uri}</dd></div>` : nothing}
      ${run && experiment ? html`<div><dt>Run</dt><dd><a href=${address.run(experiment, run)}>${run.slice(0, 8)} in MLflow</a></dd></div>` : nothing}
    </dl>`;
  }
}

define("model-links", ModelLinks);
