import { writeCsv } from "../csv.js";
import { AppElement, define } from "../element.js";
import { number, percent } from "../format.js";
import { html, nothing } from "../vendor.js";

const MOST_ROWS = 200;

/** Predictions for many rows: one line each, with the probability of each class; all of them to take along as CSV. */
class PredictionTable extends AppElement {
  static inputs = ["predictions", "probabilities", "features"];
  #url = null;

  disconnected() {
    this.#forget();
  }

  changed() {
    this.#forget();
  }

  #forget() {
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#url = null;
  }

  template() {
    const predictions = this.predictions ?? [];
    const probabilities = this.probabilities ?? [];
    const classes = Object.keys(probabilities[0] ?? {});
    const shown = predictions.slice(0, MOST_ROWS);
    const inputs = columnsOf(this.features, predictions.length);
    this.#url ??= URL.createObjectURL(new Blob([csvOf(predictions, probabilities, classes, inputs)], { type: "text/csv" }));
    return html`
      <div class="panel-head">
        <p class="quiet">${predictions.length} ${predictions.length === 1 ? "prediction" : "predictions"}${shown.length < predictions.length ? html`, the first ${shown.length} shown` : nothing}</p>
        <a class="quiet-button" href=${this.#url} download="predictions.csv">Download CSV</a>
      </div>
      <div class="table-scroll" tabindex="0" role="group" aria-label="Predictions">
        <table class="table table-sm">
          <thead><tr><th scope="col">Row</th>${inputs.map(({ name }) => html`<th scope="col" class="numeral">${name}</th>`)}<th scope="col">Prediction</th>${classes.map((name) => html`<th scope="col" class="numeral">${name}</th>`)}</tr></thead>
          <tbody>${shown.map((prediction, index) => html`<tr><th scope="row">${index + 1}</th>${inputs.map(({ values }) => html`<td class="numeral">${typeof values[index] === "number" ? number(values[index]) : values[index]}</td>`)}<td>${prediction}</td>${classes.map((name) => html`<td class="numeral">${percent(probabilities[index]?.[name])}</td>`)}</tr>`)}</tbody>
        </table>
      </div>`;
  }
}

/** The rows that were asked about, as columns {name, values}; none when they do not fit the predictions. */
function columnsOf(features, count) {
  if (!Array.isArray(features) || features.length !== count) return [];
  const [first] = features;
  if (Array.isArray(first)) return first.map((_, index) => ({ name: `Feature ${index + 1}`, values: features.map((row) => row?.[index]) }));
  if (first && typeof first === "object") return Object.keys(first).map((name) => ({ name, values: features.map((row) => row?.[name]) }));
  return [];
}

function csvOf(predictions, probabilities, classes, inputs) {
  return writeCsv([
    ["row", ...inputs.map(({ name }) => name), "prediction", ...classes.map((name) => `probability ${name}`)],
    ...predictions.map((prediction, index) => [index + 1, ...inputs.map(({ values }) => values[index]), prediction, ...classes.map((name) => probabilities[index]?.[name])]),
  ]);
}

define("prediction-table", PredictionTable);
