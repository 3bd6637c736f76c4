import { AppElement, define } from "../element.js";
import { html, nothing } from "../vendor.js";
import "./problem-alert.js";

/**
 * Asks before something is changed. `question` is {title, detail, word, act}: `word` stands on the button that does it, and `act()` does
 * it and may be refused. Null closes it. Tells "question:closed" when it was answered either way.
 */
class QuestionDialog extends AppElement {
  static inputs = ["question"];
  #problem = null;
  #isBusy = false;

  changed() {
    this.#problem = null;
    this.#isBusy = false;
  }

  updated() {
    const dialog = this.querySelector("dialog");
    if (dialog && !dialog.open) dialog.showModal();
  }

  async #do() {
    if (this.#isBusy) return;
    const { question } = this;
    this.#isBusy = true;
    this.#problem = null;
    this.update();
    try {
      await question.act();
      if (question === this.question) this.#close();
    } catch (error) {
      if (question === this.question) this.#problem = error;
    } finally {
      this.#isBusy = false;
      this.update();
    }
  }

  /** The browser gives the focus back to what was used before. */
  #close() {
    this.querySelector("dialog")?.close();
  }

  template() {
    const { question } = this;
    if (!question) return nothing;
    // Refused because something is otherwise than the question says: asking the same again would be refused again.
    const isOver = this.#problem !== null && this.#problem.status >= 400 && this.#problem.status < 500;
    return html`<dialog class="question" aria-labelledby="question-title" @close=${() => this.tell("question:closed")}>
      <h2 id="question-title">${question.title}</h2>
      <p>${question.detail}</p>
      ${this.#problem ? html`<div role="alert"><problem-alert .problem=${this.#problem} .errors=${this.#problem.errors}></problem-alert></div>` : nothing}
      <div class="buttons">
        <button type="button" class="btn btn-quiet" @click=${() => this.#close()}>${isOver ? "Close" : question.keep ?? "Cancel"}</button>
        ${isOver ? nothing : html`<button type="button" class="btn btn-primary" aria-disabled=${this.#isBusy} @click=${() => this.#do()}>${this.#isBusy ? html`<span class="spinner" aria-hidden="true"></span> ` : nothing}${question.word}</button>`}
      </div>
    </dialog>`;
  }
}

define("question-dialog", QuestionDialog);
