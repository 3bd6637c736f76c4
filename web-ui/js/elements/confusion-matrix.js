import { AppElement, define } from "../element.js";
import { percent } from "../format.js";
import { html } from "../vendor.js";

const SHADES = 6;

/** Whether a value is one: as many rows and columns as labels, all of them counts. */
export function isConfusionMatrix(value) {
  const { labels, matrix } = value ?? {};
  const isRow = (row) => Array.isArray(row) && row.length === labels.length && row.every((count) => Number.isInteger(count) && count >= 0);
  return Array.isArray(labels) && labels.length > 0 && Array.isArray(matrix) && matrix.length === labels.length && matrix.every(isRow);
}

/** How often each true class (row) was taken for which class (column): the darker a cell, the larger its share of the row. */
class ConfusionMatrix extends AppElement {
  static inputs = ["value"];

  template() {
    const { labels, matrix } = this.value;
    return html`<div class="table-scroll" tabindex="0" role="group" aria-label="Confusion matrix">
      <table class="confusion">
        <caption>Rows are the true classes, columns what was predicted.</caption>
        <thead><tr><th scope="col"><span class="visually-hidden">True class</span></th>${labels.map((label) => html`<th scope="col">${label}</th>`)}</tr></thead>
        <tbody>${matrix.map((row, index) => {
          const total = row.reduce((sum, count) => sum + count, 0);
          return html`<tr><th scope="row">${labels[index]}</th>${row.map((count, column) => html`<td class="numeral" data-kind=${column === index ? "right" : "wrong"} data-shade=${total === 0 ? 0 : Math.ceil((count / total) * SHADES)} title=${total === 0 ? "" : `${percent(count / total)} of ${labels[index]}`}>${count}</td>`)}</tr>`;
        })}</tbody>
      </table>
    </div>`;
  }
}

define("confusion-matrix", ConfusionMatrix);
