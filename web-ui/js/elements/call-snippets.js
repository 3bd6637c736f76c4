import { AppElement, define } from "../element.js";
import { curlFor, pythonFor } from "../snippets.js";
import { html } from "../vendor.js";
import "./copy-button.js";

const LANGUAGES = { curl: { word: "curl", write: curlFor }, python: { word: "Python", write: pythonFor } };

/**
 * A call as a command and as a program, in the background or not; `wasInBackground` says which comes first. `parameters` is null while
 * they are not right.
 */
class CallSnippets extends AppElement {
  static inputs = ["name", "parameters", "wasInBackground"];
  #isOpen = false;
  #language = "curl";
  // As it was chosen here; until then as the call was.
  #chosen = null;

  template() {
    return html`<details class="fold snippets" @toggle=${(event) => this.#set(() => (this.#isOpen = event.target.open))}>
      <summary>As curl or Python</summary>
      ${this.#isOpen ? this.#snippet() : ""}
    </details>`;
  }

  #set(change) {
    change();
    this.update();
  }

  #snippet() {
    const { word, write } = LANGUAGES[this.#language];
    const isBackground = this.#chosen ?? Boolean(this.wasInBackground);
    const text = this.parameters ? write(location.origin, this.name, this.parameters, isBackground) : null;
    return html`
      <div class="panel-head">
        <div class="segments" role="group" aria-label="Language">
          ${Object.entries(LANGUAGES).map(([value, one]) => html`<button type="button" class="segment" aria-pressed=${value === this.#language} @click=${() => this.#set(() => (this.#language = value))}>${one.word}</button>`)}
        </div>
        <label class="check"><input type="checkbox" class="form-check-input" .checked=${isBackground} @change=${(event) => this.#set(() => (this.#chosen = event.target.checked))}> In the background</label>
      </div>
      ${text === null
        ? html`<p class="quiet">Something above is not right yet; then the call stands here.</p>`
        : html`<div class="code-block"><copy-button .text=${text} .name=${`${word} call`}></copy-button><pre tabindex="0" role="region" aria-label=${`${word} call`}>${text}</pre></div>`}`;
  }
}

define("call-snippets", CallSnippets);
