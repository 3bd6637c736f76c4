import { AppElement, define } from "../element.js";
import { bytes } from "../format.js";
import { rangeOf, rowsIn } from "../schema-form.js";
import { html, ifDefined, live, nothing, repeat } from "../vendor.js";
import "./source-select.js";

// Beyond it a page gets slow. What a request may have is the function runner's to say.
const LARGEST_FILE = 5_000_000;

/**
 * One parameter: label, control, and below it either help or, when something is wrong, the error. A group has a field for each of its
 * members. Tells "field:input" = {text, path: the names that lead to what was typed within a group}.
 */
class FormField extends AppElement {
  static inputs = ["field", "text", "error", "controlId", "model"];
  #isDraggedOver = false;
  #fileProblem = "";
  #file = { name: "", text: "" };

  template() {
    const { field, error } = this;
    if (!field) return nothing;
    if (field.kind === "group") return this.#group();
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

  #group() {
    const { field, error, text } = this;
    const own = error?.[""];
    const help = helpFor(field);
    return html`<fieldset class="group" tabindex="-1" data-tone=${own ? "bad" : "quiet"} aria-describedby=${own || help ? `${this.controlId}-note` : nothing}>
      <legend>${this.#name()}</legend>
      ${own || help ? html`<p class=${own ? "hint error" : "hint"} id=${`${this.controlId}-note`}>${own || help}</p>` : nothing}
      ${text.other === undefined ? nothing : html`<p class="hint">In its place is sent, from the JSON: <code>${JSON.stringify(text.other)}</code></p>`}
      <div class="fields">${repeat(field.fields, (one) => one.name, (one) => html`
        <form-field .field=${one} .text=${text.texts[one.name]} .error=${error?.[one.name]} .model=${this.model} .controlId=${`${this.controlId}-${one.name}`}
          @field:input=${(event) => this.#typedWithin(one.name, event)}></form-field>`)}</div>
    </fieldset>`;
  }

  #typedWithin(name, event) {
    event.stopPropagation();
    const { text, path } = event.detail;
    this.tell("field:input", { text: { ...this.text, texts: { ...this.text.texts, [name]: text }, other: undefined }, path: [name, ...path] });
  }

  #label() {
    return html`<label for=${this.controlId}>${this.#name()}</label>`;
  }

  #name() {
    const { field } = this;
    return html`<span>${field.title || field.name}${field.isRequired && field.fallback === undefined ? html`<span class="required" aria-hidden="true"> *</span>` : nothing}</span>
      ${field.title && field.title !== field.name && !field.isWhole ? html`<code>${field.name}</code>` : nothing}`;
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
      case "file":
        return this.#chooser();
      default:
        return field.mediaType ? this.#area() : this.#input();
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
    const isTable = field.kind === "list" && field.takesRows && !field.hasTextItems;
    const takesFiles = isTable || field.kind === "text";
    return html`<textarea class="form-control" id=${this.controlId} rows=${Math.min(Math.max(lines, field.kind === "json" ? 3 : 1), 10)} spellcheck="false" autocomplete="off"
      ?required=${field.isRequired} aria-describedby=${this.#describedBy()} aria-invalid=${this.error ? "true" : "false"} placeholder=${this.#placeholder()}
      data-dragged=${takesFiles && this.#isDraggedOver ? "yes" : "no"}
      maxlength=${ifDefined(field.kind === "text" ? field.maxLength : undefined)}
      @dragover=${(event) => takesFiles && this.#dragged(event, true)} @dragleave=${(event) => takesFiles && this.#dragged(event, false)} @drop=${(event) => takesFiles && this.#dropped(event)}
      .value=${live(this.text)} @input=${(event) => this.#typed(event.target.value)}></textarea>
      ${isTable ? this.#fileLine(rowsIn(field, String(this.text)), "Read a CSV file", ".csv,.tsv,.txt,text/csv,text/plain") : nothing}
      ${takesFiles && !isTable ? this.#fileLine("", "Read a file", field.mediaType) : nothing}`;
  }

  /** What the text is taken for, and a file in its place. */
  #fileLine(words, action, accept) {
    return html`<div class="file-line">
      <p class="hint" aria-live="polite" data-tone=${this.#fileProblem ? "bad" : "quiet"}>${this.#fileProblem || words}</p>
      <label class="quiet-button">${action}<input class="visually-hidden" type="file" accept=${accept} @change=${(event) => this.#chosen(event.target)}></label>
    </div>`;
  }

  /** A file whose bytes are sent. They may also come from the JSON or an example: then there is no name. */
  #chooser() {
    const text = String(this.text);
    const words = text === "" ? "" : `${text === this.#file.text ? this.#file.name : "A file"}, ${bytes(sizeOf(text))}`;
    return html`<input class="form-control" type="file" id=${this.controlId} accept=${this.field.mediaType} ?required=${this.field.isRequired}
        aria-describedby=${this.#describedBy()} aria-invalid=${this.error ? "true" : "false"} @change=${(event) => this.#chosen(event.target)}>
      <div class="file-line" ?hidden=${!words && !this.#fileProblem}>
        <p class="hint" aria-live="polite" data-tone=${this.#fileProblem ? "bad" : "quiet"}>${this.#fileProblem || words}</p>
        <button type="button" class="quiet-button" ?hidden=${!words} @click=${() => this.#remove()}>Remove</button>
      </div>`;
  }

  #remove() {
    const input = this.querySelector("input[type=file]");
    input.value = "";
    input.focus();
    this.#typed("");
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
    // So that the same file can be chosen again after it was edited. One that is sent as it is keeps its name in the control.
    if (file) this.#read(file).then(() => (this.field.kind === "file" && !this.#fileProblem ? null : (input.value = "")));
  }

  async #read(file) {
    if (file.size > LARGEST_FILE) {
      this.#fileProblem = `${file.name} is too large: at most ${bytes(LARGEST_FILE)} are read here.`;
      this.update();
      return;
    }
    const isTable = this.field.kind === "list";
    const text = this.field.kind === "file" ? await base64(file) : (await file.text()).replace(/^\ufeff/, "");
    this.#file = { name: file.name, text };
    this.#typed(isTable ? text.trimEnd() : text);
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
    this.tell("field:input", { text, path: [] });
  }
}

/** How many bytes a text in base64 stands for. */
function sizeOf(text) {
  return Math.floor((text.replace(/=+$/, "").length * 3) / 4);
}

/** A file's bytes in base64. */
function base64(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
}

function helpFor(field) {
  const isTyped = !["boolean", "choice", "file", "group", "models", "model-versions"].includes(field.kind);
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
