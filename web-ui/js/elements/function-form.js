import { AppElement, define } from "../element.js";
import { place } from "../format.js";
import { fieldsOf, nameIn, textOf, valueOf } from "../schema-form.js";
import { html, nothing, repeat } from "../vendor.js";
import "./busy-clock.js";
import "./form-field.js";

/** Stands for all parameters together, when a function does not describe them one by one. */
const WHOLE = {
  name: "parameters",
  title: "Parameters as JSON",
  description: "This function does not describe its parameters, so they are given as one JSON object.",
  kind: "json",
  isWhole: true,
};

/**
 * The form of one function, made from its schema. Tells "form:run" = {parameters} and "form:stop".
 * Whether a call `isLong` decides what the button shows: a short one leaves it as it is. A problem handed in marks the fields its errors belong to; what was typed stays when the function changes.
 */
class FunctionForm extends AppElement {
  static inputs = ["function", "busySince", "isLong", "problem"];
  #fields = [];
  #texts = new Map();
  #errors = new Map();
  #focusError = false;

  changed(name, value, before) {
    if (name === "function" && JSON.stringify(value?.parameters) !== JSON.stringify(before?.parameters)) this.#readSchema(before === undefined);
    else if (name === "function" && before === undefined) this.#readSchema(true);
    if (name === "problem") this.#showErrors(value);
  }

  /** The errors of a problem that no field of this form can show. */
  unplacedErrors(problem) {
    return (problem?.errors ?? []).filter((error) => !this.#fieldFor(error.pointer));
  }

  #readSchema(isFirst) {
    this.#fields = fieldsOf(this.function?.parameters) ?? [WHOLE];
    const kept = isFirst ? new Map() : this.#texts;
    this.#texts = new Map(this.#fields.map((field) => [field.name, kept.get(field.name) ?? initialText(field)]));
    this.#errors = new Map();
  }

  #fill(parameters) {
    for (const field of this.#fields) {
      const value = field.isWhole ? parameters : parameters[field.name];
      this.#texts.set(field.name, value === undefined ? initialText(field) : textOf(field, value));
    }
    this.#errors = new Map();
    const isAdvancedUsed = this.#fields.some((field) => field.isAdvanced && field.name in parameters);
    if (isAdvancedUsed) this.#openOptions();
    this.update();
  }

  #typed(name, text) {
    this.#texts.set(name, text);
    this.#errors.delete(name);
    this.update();
  }

  #submit(event) {
    event.preventDefault();
    if (this.busySince) return;
    const parameters = this.#collect();
    if (this.#errors.size > 0) {
      this.#focusError = true;
      this.update();
      return;
    }
    this.update();
    this.tell("form:run", { parameters });
  }

  #collect() {
    this.#errors = new Map();
    const parameters = {};
    for (const field of this.#fields) {
      const { value, error } = valueOf(field, this.#texts.get(field.name));
      if (error) this.#errors.set(field.name, sentence(error));
      else if (field.isWhole) return this.#collectWhole(value ?? {});
      else if (value !== undefined) parameters[field.name] = value;
    }
    return parameters;
  }

  #collectWhole(value) {
    const isObject = typeof value === "object" && !Array.isArray(value);
    if (!isObject) this.#errors.set(WHOLE.name, 'Must be a JSON object such as {"text": "hello"}.');
    return value;
  }

  #showErrors(problem) {
    this.#errors = new Map();
    for (const { pointer, detail } of problem?.errors ?? []) {
      const field = this.#fieldFor(pointer);
      if (!field) continue;
      const where = place(pointer);
      const words = sentence(where ? `${where}: ${detail}` : detail);
      this.#errors.set(field.name, [this.#errors.get(field.name), words].filter(Boolean).join(" "));
    }
    this.#focusError = this.#errors.size > 0;
  }

  #fieldFor(pointer) {
    return this.#fields.find((field) => field.isWhole || field.name === nameIn(pointer));
  }

  #openOptions() {
    this.querySelector("details.more")?.setAttribute("open", "");
  }

  updated() {
    if (!this.#focusError) return;
    this.#focusError = false;
    const first = this.#fields.find((field) => this.#errors.has(field.name));
    if (first?.isAdvanced) this.#openOptions();
    // The field renders after this form: wait for it, then go there.
    requestAnimationFrame(() => this.querySelector("[aria-invalid=true]")?.focus());
  }

  template() {
    if (!this.function) return nothing;
    const first = this.#fields.filter((field) => !field.isAdvanced);
    const more = this.#fields.filter((field) => field.isAdvanced);
    return html`
      <form novalidate aria-label=${`Parameters of ${this.function.name}`} @submit=${(event) => this.#submit(event)}>
        ${this.#examples()}
        ${this.#fields.length === 0 ? html`<p class="quiet">This function takes no parameters.</p>` : nothing}
        <div class="fields">${this.#fieldList(first)}</div>
        ${more.length === 0
          ? nothing
          : html`<details class="more" ?open=${first.length === 0}>
              <summary>More options <span class="quiet">${more.length}</span></summary>
              <div class="fields">${this.#fieldList(more)}</div>
            </details>`}
        ${this.#buttons()}
      </form>`;
  }

  #fieldList(fields) {
    return repeat(fields, (field) => field.name, (field) => html`
      <form-field .field=${field} .text=${this.#texts.get(field.name)} .error=${this.#errors.get(field.name)} .model=${this.#chosenModel()}
        .controlId=${`${this.function.name}-${field.name}`} @field:input=${(event) => this.#typed(field.name, event.detail.text)}></form-field>`);
  }

  #examples() {
    const examples = this.function.examples ?? [];
    if (examples.length === 0) return nothing;
    return html`<div class="examples" role="group" aria-label="Fill in an example">
      <span class="quiet" aria-hidden="true">Examples</span>
      ${examples.map((example, index) => html`<button type="button" class="chip" @click=${() => this.#fill(example.parameters)}>${example.name || `Example ${index + 1}`}</button>`)}
    </div>`;
  }

  #buttons() {
    const isBusy = Boolean(this.busySince);
    const showsTime = isBusy && this.isLong;
    // Not `disabled`: the button keeps the focus while it waits, and pressing it again does nothing.
    return html`<div class="form-buttons">
      <button type="submit" class="btn btn-primary" aria-disabled=${isBusy ? "true" : "false"}>
        ${showsTime ? html`<span class="spinner" aria-hidden="true"></span>Running <busy-clock .since=${this.busySince}></busy-clock>` : html`Run ${this.function.name}`}
      </button>
      ${showsTime ? html`<button type="button" class="btn btn-quiet" @click=${() => this.tell("form:stop")}>Stop waiting</button>` : nothing}
    </div>`;
  }

  #chosenModel() {
    const field = this.#fields.find((one) => one.kind === "models");
    return field ? this.#texts.get(field.name) : undefined;
  }
}

function initialText(field) {
  if (field.isWhole) return "{}";
  return textOf(field, field.fallback);
}

/** "must be at most 5" → "Must be at most 5." */
function sentence(words) {
  const text = words.trim();
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

define("function-form", FunctionForm);
