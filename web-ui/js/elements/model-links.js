import { address } from "../api.js";
import { AppElement, define } from "../element.js";
import { duration } from "../format.js";
import { html, nothing } from "../vendor.js";

const FORMS = { onnx: "answered by the ONNX form", skops: "answered by the scikit-learn form" };

/** What a result made or used in MLflow, linked into its pages. */
class ModelLinks extends AppElement {
  static inputs = ["result"];

  template() {
    const { training_time_seconds: seconds, model_uri: uri, model_name: name, model_version: version, run_id: run, experiment_id: experiment, model_format: form } = this.result ?? {};
    return html`<dl class="facts">
      ${typeof seconds === "number" ? html`<div><dt>Training time</dt><dd>${duration(seconds * 1000)}</dd></div>` : nothing}
      ${uri ? html`<div><dt>Model</dt><dd>${name && version ? html`<a href=${address.modelVersion(name, version)}>${uri}</a>` : uri}${form ? html`<span class="aside">${FORMS[form] ?? `answered by the ${form} form`}</span>` : nothing}</dd></div>` : nothing}
      ${run && experiment ? html`<div><dt>Run</dt><dd><a href=${address.run(experiment, run)}>${run.slice(0, 8)} in MLflow</a></dd></div>` : nothing}
    </dl>`;
  }
}

define("model-links", ModelLinks);
