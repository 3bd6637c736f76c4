import { AppElement, define } from "../element.js";
import { bytes } from "../format.js";
import { rangeOf, rowsIn } from "../schema-form.js";
import { html, ifDefined, live, nothing } from "../vendor.js";
import "./source-select.js";

const LARGEST_FILE = 5_000_000;

/** One parameter: label, control, and below it either help or, when something is wrong, the error. Tells "field:input" = {text}. */
class FormField extends AppElement {
  static inputs = ["field", "text", "error", "controlId", "model"];
  #isDraggedOver = false;
  #fileProblem = "";

  template() {
    const { field, error } = this;
    if (!field) return nothing;
    const help = helpFor(field);
    const isSwitch = field.kind === "boolean";
    return html`
      <div class="field" data-kind=${field.kind}>
        ${isSwitch ? this.#switch() : html`${this.#label()}${this.#control()}`}
        ${error
          ? html`<p class="hint error" id=${`${this.controlId}-error`}>${error}</p>`
          : html`<p class="hint" id=${`${this.controlId}-help`} ?hidden=${!help}>${help}</p>`}
      </div>`;
  }

  #label() {
    const { field } = this;
    return html`<label for=${this.controlId}>
      <span>${field.title || field.name}${field.isRequired && field.fallback === undefined ? html`<span class="required" aria-hidden="true"> *</span>` : nothing}</span>
      ${field.title && field.title !== field.name && !field.isWhole ? html`<code>${field.name}</code>` : nothing}
    </label>`;
  }

  #switch() {
    const { field } = this;
    return html`<div class="form-check form-switch">
      <input class="form-check-input" type="checkbox" role="switch" id=${this.controlId} aria-describedby=${this.#describedBy()} aria-invalid=${this.error ? "true" : "false"}
        .checked=${live(this.text === true)} @change=${(event) => this.#typed(event.target.checked)}>
      ${this.#label()}
    </div>`;
  }

  #control() {
    const { field } = this;
    switch (field.kind) {
      case "models":
      case "model-versions":
        return html`<source-select .field=${field} .text=${this.text} .model=${this.model} .controlId=${this.controlId} .describedBy=${this.#describedBy()} .isInvalid=${Boolean(this.error)}></source-select>`;
      case "choice":
        return this.#choice();
      case "list":
      case "json":
        return this.#area();
      default:
        return this.#input();
    }
  }

  #choice() {
    const { field } = this;
    const mayBeLeftOut = !field.isRequired && field.fallback === undefined;
    return html`<select class="form-select" id=${this.controlId} aria-describedby=${this.#describedBy()} aria-invalid=${this.error ? "true" : "false"}
      .value=${live(this.text)} @change=${(event) => this.#typed(event.target.value)}>
      ${mayBeLeftOut || this.text === "" ? html`<option value="" ?selected=${this.text === ""}>not set</option>` : nothing}
      ${field.choices.map((choice) => html`<option value=${JSON.stringify(choice)} ?selected=${JSON.stringify(choice) === this.text}>${String(choice)}</option>`)}
      ${field.isNullable ? html`<option value="null" ?selected=${this.text === "null"}>none</option>` : nothing}
    </select>`;
  }

  #area() {
    const { field } = this;
    const lines = String(this.text).split("\n").length;
    const takesFiles = field.kind === "list" && field.takesRows && !field.hasTextItems;
    return html`<textarea class="form-control" id=${this.controlId} rows=${Math.min(Math.max(lines, field.kind === "json" ? 3 : 1), 10)} spellcheck="false" autocomplete="off"
      ?required=${field.isRequired} aria-describedby=${this.#describedBy()} aria-invalid=${this.error ? "true" : "false"} placeholder=${this.#placeholder()}
      data-dragged=${takesFiles && this.#isDraggedOver ? "yes" : "no"}
      @dragover=${(event) => takesFiles && this.#dragged(event, true)} @dragleave=${(event) => takesFiles && this.#dragged(event, false)} @drop=${(event) => takesFiles && this.#dropped(event)}
      .value=${live(this.text)} @input=${(event) => this.#typed(event.target.value)}></textarea>
      ${takesFiles ? this.#table() : nothing}`;
  }

  /** What the text is taken for, and a file in its place. */
  #table() {
    return html`<div class="table-line">
      <p class="hint" aria-live="polite" data-tone=${this.#fileProblem ? "bad" : "quiet"}>${this.#fileProblem || rowsIn(this.field, String(this.text))}</p>
      <label class="quiet-button">Read a CSV file<input class="visually-hidden" type="file" accept=".csv,.tsv,.txt,text/csv,text/plain" @change=${(event) => this.#chosen(event.target)}></label>
    </div>`;
  }

  #dragged(event, isOver) {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    this.#isDraggedOver = isOver;
    this.update();
  }

  #dropped(event) {
    const [file] = event.dataTransfer?.files ?? [];
    if (!file) return;
    event.preventDefault();
    this.#isDraggedOver = false;
    this.#read(file);
  }

  #chosen(input) {
    const [file] = input.files;
    // So that the same file can be chosen again after it was edited.
    if (file) this.#read(file).then(() => (input.value = ""));
  }

  async #read(file) {
    if (file.size > LARGEST_FILE) {
      this.#fileProblem = `${file.name} is too large: at most ${bytes(LARGEST_FILE)} are read here.`;
      this.update();
      return;
    }
    const text = await file.text();
    this.#typed(text.replace(/^\ufeff/, "").trimEnd());
    this.update();
  }

  #input() {
    const { field } = this;
    const isNumber = field.kind === "integer" || field.kind === "number";
    const suggestionsId = field.suggestions?.length ? `${this.controlId}-suggestions` : undefined;
    return html`<input class="form-control" id=${this.controlId} type=${isNumber ? "number" : "text"} inputmode=${ifDefined(isNumber ? (field.kind === "integer" ? "numeric" : "decimal") : undefined)}
        min=${ifDefined(isNumber ? field.minimum : undefined)} max=${ifDefined(isNumber ? field.maximum : undefined)} step=${ifDefined(isNumber ? stepOf(field) : undefined)}
        maxlength=${ifDefined(isNumber ? undefined : field.maxLength)} list=${ifDefined(suggestionsId)} spellcheck="false" autocomplete="off"
        ?required=${field.isRequired} aria-describedby=${this.#describedBy()} aria-invalid=${this.error ? "true" : "false"} placeholder=${this.#placeholder()}
        .value=${live(this.text)} @input=${(event) => this.#typed(event.target.validity.badInput ? "not a number" : event.target.value)}>
      ${suggestionsId ? html`<datalist id=${suggestionsId}>${field.suggestions.map((one) => html`<option value=${one}></option>`)}</datalist>` : nothing}`;
  }

  #describedBy() {
    return `${this.controlId}-${this.error ? "error" : "help"}`;
  }

  #placeholder() {
    const { field } = this;
    if (field.example !== undefined) return typeof field.example === "string" ? field.example : JSON.stringify(field.example);
    if (field.isNullable) return "none";
    return field.kind === "json" ? "{ }" : "";
  }

  #typed(text) {
    this.#fileProblem = "";
    this.tell("field:input", { text });
  }
}

function helpFor(field) {
  const isTyped = !["boolean", "choice", "models", "model-versions"].includes(field.kind);
  const range = isTyped ? rangeOf(field) : "";
  const members = field.suggestions?.length ? `${field.suggestions.join(", ")}${field.takes.numbers ? " or a number" : ""}` : "";
  const usual = isTyped && field.fallback !== undefined && field.fallback !== null && typeof field.fallback !== "object" ? `default ${field.fallback}` : "";
  const form = field.kind === "list" ? `commas between values${field.takesRows ? ", one row in each line" : ""}, or JSON${field.takesRows && !field.hasTextItems ? ", or CSV, pasted or dropped" : ""}` : "";
  const sentence = field.description.trim().replace(/([^.!?…])$/, "$1.");
  const facts = [members, range, form, usual].filter(Boolean).join(", ");
  return [sentence, facts && `${facts.charAt(0).toUpperCase()}${facts.slice(1)}.`].filter(Boolean).join(" ");
}

function stepOf(field) {
  if (field.step) return field.step;
  if (field.kind === "integer") return 1;
  return field.minimum !== undefined && field.maximum !== undefined && field.maximum - field.minimum <= 1 ? 0.05 : "any";
}

define("form-field", FormField);
