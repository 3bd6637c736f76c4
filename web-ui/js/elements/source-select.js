import { api } from "../api.js";
import { AppElement, define } from "../element.js";
import { number, relativeTime, words } from "../format.js";
import { linkTo } from "../routes.js";
import { html, ifDefined, live, nothing } from "../vendor.js";

const MEASURES = ["accuracy", "precision", "recall", "f1_score", "f1", "r2", "rmse"];

/**
 * A choice whose options come from the registry (`x-source` in the schema). Without an answer from the registry it is a plain
 * text field, so that the form stays usable. Tells "field:input" = {text}.
 */
class SourceSelect extends AppElement {
  static inputs = ["field", "text", "model", "controlId", "describedBy", "isInvalid"];
  #options = null;
  #problem = null;
  #inFlight = null;

  connected(signal) {
    document.addEventListener("invocation:finished", () => this.#load(), { signal });
    document.addEventListener("runner:back", () => this.#load(), { signal });
    this.#load();
  }

  disconnected() {
    this.#inFlight?.abort();
  }

  changed(name) {
    if (name !== "model" || !this.isConnected) return;
    this.#options = null;
    this.#load();
  }

  async #load() {
    this.#inFlight?.abort();
    const current = (this.#inFlight = new AbortController());
    try {
      const options = this.field?.kind === "models" ? await modelOptions(current.signal) : await versionOptions(this.model, current.signal);
      if (current.signal.aborted) return;
      this.#options = options;
      this.#problem = null;
    } catch (error) {
      if (current.signal.aborted) return;
      this.#problem = error;
    }
    this.update();
  }

  #note() {
    if (this.#problem) return "The list cannot be loaded right now; type the value instead.";
    if (this.#options?.length !== 0) return "";
    if (this.field.kind === "models") return "No model is registered yet; a training registers one.";
    return this.model ? `${this.model} has no versions yet.` : "Choose a model first.";
  }

  template() {
    const { field, text } = this;
    if (!field) return nothing;
    const note = this.#note();
    const noteId = `${this.controlId}-note`;
    const describedBy = [this.describedBy, note && noteId].filter(Boolean).join(" ");
    const shared = { id: this.controlId, describedBy, isInvalid: this.isInvalid };
    return html`${this.#problem ? this.#textInput(shared) : this.#select(shared)}
      <p class="hint" id=${noteId} ?hidden=${!note} data-tone="waiting">${note}</p>
      ${this.#details()}`;
  }

  /** What is known of the chosen version: which one it is right now, its measures, and its page. */
  #details() {
    const one = this.#options?.find((option) => option.value === this.text)?.version;
    if (!one) return nothing;
    const measures = MEASURES.filter((name) => typeof one.metrics?.[name] === "number").map((name) => `${words(name).toLowerCase()} ${number(Number(one.metrics[name].toFixed(4)))}`);
    const aliases = (one.aliases ?? []).map((alias) => html`<span class="tag">@${alias}</span> `);
    return html`<p class="hint"><a href=${linkTo("models", this.model, { version: one.version })}>Version ${one.version}</a> ${aliases}${[...measures, `registered ${relativeTime(one.created_at)}`].join(", ")}</p>`;
  }

  #select({ id, describedBy, isInvalid }) {
    const known = this.#options ?? [];
    const isKnown = known.some((option) => option.value === this.text);
    const mayBeEmpty = !this.field.isRequired && this.field.fallback === undefined;
    return html`
      <select class="form-select" id=${id} aria-describedby=${ifDefined(describedBy || undefined)} aria-invalid=${isInvalid ? "true" : "false"}
        .value=${live(this.text)} @change=${(event) => this.tell("field:input", { text: event.target.value })}>
        ${mayBeEmpty || (this.text === "" && !isKnown) ? html`<option value="" ?selected=${this.text === ""}>${this.#options ? "Choose…" : "Loading…"}</option>` : nothing}
        ${isKnown || this.text === "" ? nothing : html`<option value=${this.text} selected>${this.text}</option>`}
        ${known.map((option) => html`<option value=${option.value} ?selected=${option.value === this.text}>${option.label}</option>`)}
      </select>`;
  }

  #textInput({ id, describedBy, isInvalid }) {
    return html`<input class="form-control" id=${id} type="text" autocomplete="off" aria-describedby=${ifDefined(describedBy || undefined)}
      aria-invalid=${isInvalid ? "true" : "false"} .value=${live(this.text)} @input=${(event) => this.tell("field:input", { text: event.target.value })}>`;
  }

  updated() {
    // Options may arrive after the value: the browser then has to be told again which one is chosen.
    const select = this.querySelector("select");
    if (select && select.value !== this.text) select.value = this.text;
  }
}

async function modelOptions(signal) {
  return (await api.models(signal)).map(({ name }) => ({ value: name, label: name }));
}

/** latest first, then the aliases, then each version with what is known about it. */
async function versionOptions(model, signal) {
  if (!model) return [];
  const versions = await api.modelVersions(model, signal);
  if (!versions?.length) return [];
  const aliases = versions.flatMap((one) => (one.aliases ?? []).map((alias) => ({ value: `@${alias}`, label: `@${alias} (version ${one.version})`, version: one })));
  return [
    { value: "latest", label: `latest (version ${versions[0].version})`, version: versions[0] },
    ...aliases,
    ...versions.map((one) => ({ value: String(one.version), label: versionLabel(one), version: one })),
  ];
}

function versionLabel({ version, metrics, aliases, created_at: at }) {
  const measure = MEASURES.find((name) => typeof metrics?.[name] === "number");
  const names = (aliases ?? []).map((alias) => `@${alias}`).join(" ");
  return [`version ${version}`, measure && `${measure.replace("_score", "")} ${metrics[measure].toFixed(3)}`, names, at && relativeTime(at)].filter(Boolean).join(" · ");
}

define("source-select", SourceSelect);
