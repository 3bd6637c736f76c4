import { AppElement, define } from "../element.js";
import { editableJson, place } from "../format.js";
import { fieldsOf, initialText, nameIn, textOf, typedOf, valueOf, withError, withoutError } from "../schema-form.js";
import { html, live, nothing, repeat } from "../vendor.js";
import "./busy-clock.js";
import "./call-snippets.js";
import "./form-field.js";

/** Stands for all parameters together, when a function does not describe them one by one. */
const WHOLE = {
  name: "parameters",
  title: "Parameters as JSON",
  description: "This function does not describe its parameters, so they are given as one JSON object.",
  kind: "json",
  isWhole: true,
};

const NO_OBJECT = 'Must be a JSON object such as {"text": "hello"}.';

/**
 * The parameters of one function, as a form made from its schema or as JSON; both stay in step. Tells "form:run" = {parameters,
 * isBackground} and "form:cancel".
 * Whether a call `isLong` decides what the button shows: a short one leaves it as it is. A problem handed in marks the fields its
 * errors belong to; what was typed stays when the function changes.
 */
class FunctionForm extends AppElement {
  static inputs = ["function", "busySince", "isLong", "isCancellable", "problem"];
  #fields = [];
  #texts = new Map();
  #errors = new Map();
  #focusError = false;
  // What JSON has beyond the fields; it is sent, and stays when the form is edited.
  #beyond = {};
  #isJson = false;
  #json = { text: "", value: null, error: "" };
  // Whether the JSON still says what the form says. If not, it is written anew when it is shown.
  #isJsonCurrent = false;

  changed(name, value, before) {
    if (name === "function" && JSON.stringify(value?.parameters) !== JSON.stringify(before?.parameters)) this.#readSchema(before === undefined);
    else if (name === "function" && before === undefined) this.#readSchema(true);
    if (name === "problem") this.#showErrors(value);
  }

  /** The errors of a problem that no field of this form can show. */
  unplacedErrors(problem) {
    return (problem?.errors ?? []).filter((error) => this.#isJson || !this.#fieldFor(error.pointer));
  }

  #readSchema(isFirst) {
    this.#fields = fieldsOf(this.function?.parameters) ?? [WHOLE];
    const kept = isFirst ? new Map() : this.#texts;
    this.#texts = new Map(this.#fields.map((field) => [field.name, kept.get(field.name) ?? firstText(field)]));
    this.#errors = new Map();
    this.#isJsonCurrent = false;
    if (this.#isJson) this.#writeJson();
  }

  /** The fields take over what the parameters say, and only what changed, so that what stays keeps the form it was typed in. */
  #take(parameters, before = null) {
    for (const field of this.#fields) {
      const value = field.isWhole ? parameters : parameters[field.name];
      const isSame = before !== null && JSON.stringify(value) === JSON.stringify(field.isWhole ? before : before[field.name]);
      if (!isSame) this.#texts.set(field.name, value === undefined ? firstText(field) : textOf(field, value));
    }
    const known = new Set(this.#fields.map((field) => field.name));
    this.#beyond = this.#isWhole ? {} : Object.fromEntries(Object.entries(parameters).filter(([name]) => !known.has(name)));
    this.#errors = new Map();
  }

  get #isWhole() {
    return this.#fields[0]?.isWhole === true;
  }

  #fill(parameters) {
    this.#take(parameters);
    this.#isJsonCurrent = false;
    this.#json = { ...this.#json, error: "" };
    if (this.#isJson) this.#writeJson();
    const isAdvancedUsed = this.#fields.some((field) => field.isAdvanced && field.name in parameters);
    if (isAdvancedUsed) this.#openOptions();
    this.update();
  }

  #typed(name, { text, path = [] }) {
    this.#texts.set(name, text);
    this.#errors.set(name, withoutError(this.#errors.get(name), path));
    // From here on the form is what counts: JSON that could not be read is written anew.
    this.#isJsonCurrent = false;
    this.#json = { ...this.#json, error: "" };
    this.update();
  }

  #show(isJson) {
    this.#isJson = isJson;
    if (isJson && !this.#isJsonCurrent) this.#writeJson();
    this.update();
  }

  /** What is wrong in a field goes into the JSON as it was typed, so that it is not lost. */
  #writeJson() {
    const { parameters, errors } = this.#collect();
    const wrong = Object.fromEntries(this.#fields.filter(({ name }) => errors.has(name)).map((field) => [field.name, typedOf(field, this.#texts.get(field.name))]));
    const value = { ...parameters, ...wrong };
    this.#json = { text: editableJson(value), value, error: "" };
    this.#isJsonCurrent = true;
  }

  #typedJson(text) {
    const { value, error } = parsed(text);
    if (!error) this.#take(value, this.#json.value);
    this.#json = { text, value: error ? this.#json.value : value, error: error ?? "" };
    this.update();
  }

  /** The parameters as they stand here, or null while something is not right. */
  #parameters() {
    if (this.#isJson) return this.#json.error ? null : this.#json.value;
    const { parameters, errors } = this.#collect();
    return errors.size > 0 ? null : parameters;
  }

  #submit(event) {
    event.preventDefault();
    this.#run(event.submitter?.name === "background");
  }

  #run(isBackground) {
    if (this.busySince) return;
    if (!this.#isJson) this.#errors = this.#collect().errors;
    const parameters = this.#parameters();
    if (parameters === null) this.#focusError = true;
    this.update();
    if (parameters !== null) this.tell("form:run", { parameters, isBackground });
  }

  #collect() {
    const errors = new Map();
    const parameters = {};
    for (const field of this.#fields) {
      const { value, error } = valueOf(field, this.#texts.get(field.name));
      if (field.isWhole) return wholeOf(value ?? {}, error);
      if (error) errors.set(field.name, sentences(error));
      else if (value !== undefined) parameters[field.name] = value;
    }
    return { parameters: { ...parameters, ...this.#beyond }, errors };
  }

  #showErrors(problem) {
    this.#errors = new Map();
    if (this.#isJson) return;
    for (const { pointer, detail } of problem?.errors ?? []) {
      const field = this.#fieldFor(pointer);
      if (!field) continue;
      const words = (where) => sentence(place(where) ? `${place(where)}: ${detail}` : detail);
      this.#errors.set(field.name, withError(field, this.#errors.get(field.name), pointer, words));
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
    const first = this.#fields.find((field) => this.#errors.get(field.name));
    if (first?.isAdvanced) this.#openOptions();
    // The field renders after this form: wait for it, then go there.
    requestAnimationFrame(() => this.querySelector("[aria-invalid=true], fieldset[data-tone=bad]")?.focus());
  }

  template() {
    if (!this.function) return nothing;
    return html`
      <div class="panel-head">
        <h2>Parameters</h2>
        ${this.#isWhole || this.#fields.length === 0 ? nothing : html`<div class="segments" role="group" aria-label="Parameters as">
          <button type="button" class="segment" aria-pressed=${!this.#isJson} @click=${() => this.#show(false)}>Form</button>
          <button type="button" class="segment" aria-pressed=${this.#isJson} @click=${() => this.#show(true)}>JSON</button>
        </div>`}
      </div>
      <form novalidate aria-label=${`Parameters of ${this.function.name}`} @submit=${(event) => this.#submit(event)}>
        ${this.#examples()}
        ${this.#isJson ? this.#editor() : this.#fieldGroups()}
        <call-snippets .name=${this.function.name} .parameters=${this.#parameters()}></call-snippets>
        ${this.#buttons()}
      </form>`;
  }

  #fieldGroups() {
    const first = this.#fields.filter((field) => !field.isAdvanced);
    const more = this.#fields.filter((field) => field.isAdvanced);
    const beyond = Object.keys(this.#beyond);
    return html`
      ${this.#json.error ? html`<p class="hint error">The JSON cannot be read, so this is what it said before. <button type="button" class="link" @click=${() => this.#show(true)}>Correct it</button></p>` : nothing}
      ${this.#fields.length === 0 ? html`<p class="quiet">This function takes no parameters.</p>` : nothing}
      <div class="fields">${this.#fieldList(first)}</div>
      ${more.length === 0
        ? nothing
        : html`<details class="more" ?open=${first.length === 0}>
            <summary>More options <span class="quiet">${more.length}</span></summary>
            <div class="fields">${this.#fieldList(more)}</div>
          </details>`}
      ${beyond.length === 0 ? nothing : html`<p class="hint" data-tone="waiting">Also sent, from the JSON: ${beyond.map((name, index) => html`${index > 0 ? ", " : nothing}<code>${name}</code>`)}.
        <button type="button" class="link" @click=${() => this.#leaveOut()}>Leave out</button></p>`}`;
  }

  #leaveOut() {
    this.#beyond = {};
    this.#isJsonCurrent = false;
    this.update();
  }

  #editor() {
    const { text, error } = this.#json;
    const id = `${this.function.name}-json`;
    return html`<div class="field">
      <label for=${id} class="visually-hidden">Parameters as JSON</label>
      <textarea class="form-control" id=${id} rows=${Math.min(Math.max(text.split("\n").length, 8), 24)} spellcheck="false" autocomplete="off" autocapitalize="off"
        aria-invalid=${error ? "true" : "false"} aria-describedby=${`${id}-note`} .value=${live(text)} @input=${(event) => this.#typedJson(event.target.value)}></textarea>
      <p class=${error ? "hint error" : "hint"} id=${`${id}-note`} aria-live="polite">${error || "Sent as it stands here. What is left out gets its default."}</p>
    </div>`;
  }

  #fieldList(fields) {
    return repeat(fields, (field) => field.name, (field) => html`
      <form-field .field=${field} .text=${this.#texts.get(field.name)} .error=${this.#errors.get(field.name)} .model=${this.#chosenModel()}
        .controlId=${`${this.function.name}-${field.name}`} @field:input=${(event) => this.#typed(field.name, event.detail)}></form-field>`);
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
      ${showsTime
        ? this.isCancellable
          ? html`<button type="button" class="btn btn-quiet" @click=${() => this.tell("form:cancel")}>Cancel</button>`
          : nothing
        : html`<button type="submit" name="background" class="btn btn-quiet">Run in background</button>`}
    </div>`;
  }

  #chosenModel() {
    const field = this.#fields.find((one) => one.kind === "models");
    return field ? this.#texts.get(field.name) : undefined;
  }
}

function firstText(field) {
  return field.isWhole ? "{}" : initialText(field);
}

/** What was typed as the parameters of a function without fields; only an object will do. */
function wholeOf(value, error) {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  const wrong = error ? sentence(error) : isObject ? "" : NO_OBJECT;
  return { parameters: value, errors: new Map(wrong ? [[WHOLE.name, wrong]] : []) };
}

/** JSON as it is edited: {value}, or {error: "a sentence"}. */
function parsed(text) {
  let value;
  try {
    value = JSON.parse(text.trim() === "" ? "{}" : text);
  } catch (error) {
    return { error: sentence(`This is not valid JSON: ${error.message}`) };
  }
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  return isObject ? { value } : { error: NO_OBJECT };
}

/** "must be at most 5" → "Must be at most 5." */
function sentence(words) {
  const text = words.trim();
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;
}

function sentences(errors) {
  if (typeof errors === "string") return sentence(errors);
  return Object.fromEntries(Object.entries(errors).map(([name, words]) => [name, sentences(words)]));
}

define("function-form", FunctionForm);
