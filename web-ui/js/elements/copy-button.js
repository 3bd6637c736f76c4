import { AppElement, define } from "../element.js";
import { html } from "../vendor.js";

/** Copies `text`, which may be a function that makes it. `name` says what it is, for those who do not see where the button stands. */
class CopyButton extends AppElement {
  static inputs = ["text", "name"];
  #word = "Copy";
  #timer = null;

  disconnected() {
    clearTimeout(this.#timer);
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(typeof this.text === "function" ? this.text() : this.text);
      this.#word = "Copied";
    } catch {
      // Without https or permission a browser refuses; the text itself can still be selected.
      this.#word = "Not allowed";
    }
    this.update();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#word = "Copy";
      this.update();
    }, 2000);
  }

  template() {
    return html`<button type="button" class="quiet-button" @click=${() => this.#copy()}><span aria-live="polite">${this.#word}</span><span class="visually-hidden"> ${this.name}</span></button>`;
  }
}

define("copy-button", CopyButton);
