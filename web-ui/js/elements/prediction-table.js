import { AppElement, define } from "../element.js";
import { percent } from "../format.js";
import { html, nothing } from "../vendor.js";

const MOST_ROWS = 200;

/** Predictions for many rows: one line each, with the probability of each class. */
class PredictionTable extends AppElement {
  static inputs = ["predictions", "probabilities"];

  template() {
    const predictions = this.predictions ?? [];
    const probabilities = this.probabilities ?? [];
    const classes = Object.keys(probabilities[0] ?? {});
    const shown = predictions.slice(0, MOST_ROWS);
    return html`
      <div class="table-scroll" tabindex="0" role="group" aria-label="Predictions">
        <table class="table table-sm">
          <thead><tr><th scope="col">Row</th><th scope="col">Prediction</th>${classes.map((name) => html`<th scope="col" class="numeral">${name}</th>`)}</tr></thead>
          <tbody>${shown.map((prediction, index) => html`<tr><th scope="row">${index + 1}</th><td>${prediction}</td>${classes.map((name) => html`<td class="numeral">${percent(probabilities[index]?.[name])}</td>`)}</tr>`)}</tbody>
        </table>
      </div>
      ${shown.length < predictions.length ? html`<p class="quiet">The first ${shown.length} of ${predictions.length} rows; the raw JSON has them all.</p>` : nothing}`;
  }
}

define("prediction-table", PredictionTable);
