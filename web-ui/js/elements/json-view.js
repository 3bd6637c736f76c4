import { AppElement, define } from "../element.js";
import { number, prettyJson, words } from "../format.js";
import { html } from "../vendor.js";

const MOST_ROWS = 100;
const DEEPEST = 4;

/** Any JSON value, readable: objects as names and values, lists of alike objects as tables. */
class JsonView extends AppElement {
  static inputs = ["value"];

  template() {
    return html`<div class="json-view">${view(this.value, 0)}</div>`;
  }
}

function view(value, depth) {
  if (value === null) return html`<span class="quiet">none</span>`;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (typeof value === "number") return html`<span class="numeral" title=${value}>${number(value)}</span>`;
  if (typeof value === "string") return value.includes("\n") || value.length > 200 ? html`<pre tabindex="0">${value}</pre>` : value === "" ? html`<span class="quiet">empty</span>` : value;
  if (depth >= DEEPEST) return html`<pre tabindex="0">${prettyJson(value)}</pre>`;
  return Array.isArray(value) ? list(value, depth) : object(value, depth);
}

function object(value, depth) {
  const entries = Object.entries(value);
  if (entries.length === 0) return html`<span class="quiet">empty</span>`;
  return html`<dl>${entries.map(([name, one]) => html`<div><dt title=${name}>${words(name)}</dt><dd>${view(one, depth + 1)}</dd></div>`)}</dl>`;
}

function list(values, depth) {
  if (values.length === 0) return html`<span class="quiet">empty list</span>`;
  const shown = values.slice(0, MOST_ROWS);
  const rest = values.length > shown.length ? html`<p class="quiet">and ${values.length - shown.length} more; the raw JSON has them all.</p>` : "";
  if (shown.every((one) => one === null || typeof one !== "object")) {
    return html`<span class="numeral">${shown.map((one) => (typeof one === "number" ? number(one) : String(one))).join(", ")}</span>${rest}`;
  }
  const columns = alikeColumns(shown);
  if (columns) {
    return html`<div class="table-scroll" tabindex="0" role="group" aria-label="Table">
        <table class="table table-sm">
          <thead><tr>${columns.map((name) => html`<th scope="col">${words(name)}</th>`)}</tr></thead>
          <tbody>${shown.map((row) => html`<tr>${columns.map((name) => html`<td>${row[name] === undefined ? "" : view(row[name], DEEPEST)}</td>`)}</tr>`)}</tbody>
        </table>
      </div>${rest}`;
  }
  return html`<ol>${shown.map((one) => html`<li>${view(one, depth + 1)}</li>`)}</ol>${rest}`;
}

function alikeColumns(rows) {
  if (!rows.every((row) => row && typeof row === "object" && !Array.isArray(row))) return null;
  const columns = Object.keys(rows[0]);
  const isAlike = columns.length > 0 && columns.length <= 12 && rows.every((row) => Object.keys(row).every((name) => columns.includes(name)));
  return isAlike ? columns : null;
}

define("json-view", JsonView);
