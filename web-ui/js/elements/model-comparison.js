import { api } from "../api.js";
import { AppElement, define } from "../element.js";
import { percent } from "../format.js";
import { linkTo } from "../routes.js";
import { html } from "../vendor.js";
import { MEASURES } from "./metric-cards.js";

const CHAMPION = "champion";
// Less than this is what rounding makes.
const SAME = 0.00005;

/** A new version's measures beside those of the version before it and of @champion, and which of them are better or worse. */
class ModelComparison extends AppElement {
  static inputs = ["result"];
  #others = null;
  #hasFailed = false;
  #inFlight = null;

  connected() {
    this.#read();
  }

  disconnected() {
    this.#inFlight?.abort();
  }

  changed(name, value, before) {
    if (before !== undefined && this.isConnected && (value.model_version !== before.model_version || value.model_name !== before.model_name)) this.#read();
  }

  async #read() {
    this.#inFlight?.abort();
    const current = (this.#inFlight = new AbortController());
    this.#others = null;
    this.#hasFailed = false;
    try {
      const versions = (await api.modelVersions(this.result.model_name, current.signal)) ?? [];
      if (current.signal.aborted) return;
      this.#others = othersOf(versions, Number(this.result.model_version));
    } catch {
      if (current.signal.aborted) return;
      // The result itself is there; what it could be compared with can be looked up in Models later.
      this.#hasFailed = true;
    }
    this.update();
  }

  template() {
    const { model_name: name, model_version: version } = this.result;
    const link = html`<a href=${linkTo("models", name, { version })}>Version ${version} among all versions</a>`;
    if (this.#hasFailed) return html`<p class="quiet">The other versions cannot be loaded right now. ${link}</p>`;
    if (this.#others === null) return html`<span class="placeholder-line" aria-hidden="true"></span>`;
    if (this.#others.length === 0) return html`<p class="quiet">There is no earlier version to compare with. ${link}</p>`;
    const versions = [version, ...this.#others.map((one) => one.version)].join(",");
    return html`
      <div class="table-scroll" tabindex="0" role="group" aria-label="Compared with other versions"><table class="table table-sm comparison">
        <thead><tr><th scope="col"><span class="visually-hidden">Measure</span></th><th scope="col" class="numeral">This one<span class="aside">version ${version}</span></th>${this.#others.map((one) => html`<th scope="col" class="numeral">${one.words}<span class="aside"><a href=${linkTo("models", name, { version: one.version })}>version ${one.version}</a></span></th>`)}</tr></thead>
        <tbody>${MEASURES.filter(([measure]) => typeof this.result[measure] === "number").map(([measure, label]) => html`<tr><th scope="row">${label}</th><td class="numeral">${percent(this.result[measure])}</td>${this.#others.map((one) => html`<td class="numeral">${this.#beside(this.result[measure], one.metrics[measure])}</td>`)}</tr>`)}</tbody>
      </table></div>
      <p class="aside"><a href=${linkTo("compare", undefined, { model: name, versions })}>Compare them in full</a> · ${link}</p>`;
  }

  #beside(mine, other) {
    if (typeof other !== "number") return html`<span class="quiet">–</span>`;
    return html`${percent(other)}${differenceOf(mine - other)}`;
  }
}

/** The version before, and the champion, each {version, metrics, words}; one column when they are the same. */
function othersOf(versions, mine) {
  const before = versions.filter((one) => Number(one.version) < mine).sort((a, b) => Number(b.version) - Number(a.version))[0];
  const champion = versions.find((one) => one.aliases?.includes(CHAMPION) && Number(one.version) !== mine);
  const isBoth = before && champion && before.version === champion.version;
  return [
    before && { ...before, words: isBoth ? `Before, and @${CHAMPION}` : "Before" },
    champion && !isBoth && { ...champion, words: `@${CHAMPION}` },
  ].filter(Boolean);
}

/** By how much the new version is better or worse, in percentage points. */
function differenceOf(difference) {
  if (Math.abs(difference) < SAME) return html`<span class="difference" data-tone="quiet">same</span>`;
  const points = (Math.abs(difference) * 100).toFixed(1);
  return difference > 0
    ? html`<span class="difference" data-tone="good"><span aria-hidden="true">▲</span> ${points} better</span>`
    : html`<span class="difference" data-tone="bad"><span aria-hidden="true">▼</span> ${points} worse</span>`;
}

define("model-comparison", ModelComparison);
