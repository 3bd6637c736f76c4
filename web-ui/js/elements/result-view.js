import { AppElement, define } from "../element.js";
import { words } from "../format.js";
import { html, nothing } from "../vendor.js";
import "./class-probabilities.js";
import { isConfusionMatrix } from "./confusion-matrix.js";
import { areImportances } from "./feature-importances.js";
import "./json-view.js";
import { measuresIn } from "./metric-cards.js";
import "./model-comparison.js";
import "./model-links.js";
import "./prediction-table.js";
import "./raw-json.js";

const IN_MLFLOW = ["training_time_seconds", "model_uri", "model_name", "model_version", "run_id", "experiment_id", "model_format"];

/** A function's result, shown by what it holds and not by who returned it: measures, a prediction, or any JSON. `parameters`, if known, are what was asked. */
class ResultView extends AppElement {
  static inputs = ["result", "parameters"];

  template() {
    const { result } = this;
    const isObject = result !== null && typeof result === "object" && !Array.isArray(result);
    return html`${isObject ? this.#parts(result) : html`<json-view .value=${result}></json-view>`}<raw-json .value=${result}></raw-json>`;
  }

  #parts(result) {
    const measures = measuresIn(result);
    const isPrediction = "prediction" in result && result.probabilities !== undefined;
    const isInMlflow = typeof result.model_uri === "string" || typeof result.run_id === "string";
    const isVersion = measures.length > 0 && typeof result.model_name === "string" && typeof result.model_version === "string";
    const hasMatrix = isConfusionMatrix(result.confusion_matrix);
    const hasImportances = areImportances(result.feature_importances);
    const warnings = Array.isArray(result.warnings) ? result.warnings : [];
    const shown = new Set([
      ...measures,
      ...(isPrediction ? ["prediction", "probabilities"] : []),
      ...(isInMlflow ? IN_MLFLOW : []),
      ...(hasMatrix ? ["confusion_matrix"] : []),
      ...(hasImportances ? ["feature_importances"] : []),
      ...(Array.isArray(result.warnings) ? ["warnings"] : []),
    ]);
    const { plain, nested } = split(result, shown);
    return html`
      ${measures.length > 0 ? html`<metric-cards .result=${result}></metric-cards>` : nothing}
      ${isPrediction ? this.#prediction(result) : nothing}
      ${warnings.map((warning) => html`<p class="warning" role="note">${typeof warning === "string" ? warning : JSON.stringify(warning)}</p>`)}
      ${isVersion ? html`<model-comparison .result=${result}></model-comparison>` : nothing}
      ${hasMatrix || hasImportances
        ? html`<div class="figures">
            ${hasMatrix ? html`<div><h3>Confusion matrix</h3><confusion-matrix .value=${result.confusion_matrix}></confusion-matrix></div>` : nothing}
            ${hasImportances ? html`<div><h3>Feature importances</h3><feature-importances .value=${result.feature_importances}></feature-importances></div>` : nothing}
          </div>`
        : nothing}
      ${isInMlflow ? html`<model-links .result=${result}></model-links>` : nothing}
      ${Object.keys(plain).length > 0 || shown.size === 0 ? html`<json-view .value=${plain}></json-view>` : nothing}
      ${nested.map(([name, value]) => html`<details class="fold" ?open=${isSmall(value)}><summary>${name}</summary><json-view .value=${value}></json-view></details>`)}`;
  }

  #prediction({ prediction, probabilities }) {
    return Array.isArray(prediction)
      ? html`<prediction-table .predictions=${prediction} .probabilities=${probabilities} .features=${this.parameters?.features}></prediction-table>`
      : html`<class-probabilities .prediction=${prediction} .probabilities=${probabilities}></class-probabilities>`;
  }
}

/** A few plain values, such as the best parameters of a search: shown at once. */
function isSmall(value) {
  const values = Object.values(value);
  return !Array.isArray(value) && values.length <= 6 && values.every((one) => one === null || typeof one !== "object");
}

/** What is left to show: at once when nothing else was shown, otherwise objects and lists folded. */
function split(result, shown) {
  const rest = Object.entries(result).filter(([name]) => !shown.has(name));
  if (shown.size === 0) return { plain: Object.fromEntries(rest), nested: [] };
  const isNested = ([, value]) => value !== null && typeof value === "object";
  const nested = rest.filter(isNested).map(([name, value]) => [words(name), value]);
  return { plain: Object.fromEntries(rest.filter((entry) => !isNested(entry))), nested };
}

define("result-view", ResultView);
