import { address } from "../api.js";
import { AppElement, define } from "../element.js";
import { isFinal, number } from "../format.js";
import { follow } from "../live.js";
import { BLOCK, LogText, occurrences } from "../log-text.js";
import { html, nothing, repeat } from "../vendor.js";
import "./copy-button.js";
import "./log-block.js";

const LINES = 10_000;
// This near to the end counts as the end: heights are rounded.
const NEAR = 24;
const TYPING_MS = 120;

/**
 * The last lines of an invocation's log with their colours, followed live until it is closed; to search, to copy, to take along. Tells
 * the elements above what it hears of the invocation on the way: "invocation:moved" when its status changed or its end is known,
 * "invocation:progress".
 */
class LogPane extends AppElement {
  static inputs = ["invocationId", "status", "container"];
  #log = new LogText(LINES);
  #isOver = false;
  #isRemoved = false;
  #isTroubled = false;
  #following = null;
  #sticks = false;
  #isAtEnd = true;
  #lastTop = 0;
  #isWrapped = false;
  #needle = "";
  #chosen = 0;
  #typing = null;
  #sizes = null;
  #copied = () => this.#log.toString();

  connected() {
    this.#sizes = new ResizeObserver(() => this.#stick());
    this.#follow();
  }

  disconnected() {
    clearTimeout(this.#typing);
    this.#sizes.disconnect();
    this.#following?.abort();
  }

  changed(name, _value, before) {
    if (name === "invocationId" && before !== undefined && this.isConnected) this.#follow();
  }

  #follow() {
    this.#following?.abort();
    this.#following = new AbortController();
    this.#log = new LogText(LINES);
    this.#isOver = false;
    this.#isRemoved = false;
    this.#isTroubled = false;
    this.#needle = "";
    // What goes on is followed to its end; what is over is read from its beginning.
    this.#sticks = !isFinal(this.status);
    this.update();
    let status = this.status;
    const on = {
      status: (data) => {
        this.#isTroubled = false;
        if (data.status !== status) this.tell("invocation:moved");
        status = data.status;
        this.update();
      },
      progress: (data) => this.tell("invocation:progress", data),
      log: ({ text }) => {
        this.#isTroubled = false;
        this.#log.append(text);
        this.update();
      },
      end: (data) => {
        this.#isRemoved = data.log_state === "expired";
        this.#isOver = true;
        this.#isTroubled = false;
        this.tell("invocation:moved");
        this.update();
      },
      trouble: () => {
        this.#isTroubled = true;
        this.update();
      },
    };
    follow(this.invocationId, LINES, on, this.#following.signal);
  }

  updated() {
    const text = this.querySelector(".log-lines");
    if (text) this.#sizes.observe(text);
    this.#stick();
  }

  #stick() {
    const view = this.#view;
    if (!view) return;
    if (this.#sticks) view.scrollTop = view.scrollHeight;
    this.#see(view);
  }

  /** Whoever scrolls up wants to read there; whoever scrolls to the end wants to stay there. */
  #scrolled(view) {
    if (isNearEnd(view)) this.#sticks = !this.#isOver;
    else if (view.scrollTop < this.#lastTop) this.#sticks = false;
    this.#see(view);
  }

  #see(view) {
    this.#lastTop = view.scrollTop;
    if (this.#isAtEnd === isNearEnd(view)) return;
    this.#isAtEnd = !this.#isAtEnd;
    this.update();
  }

  #toEnd() {
    this.#sticks = true;
    this.#stick();
    this.#view.focus({ preventScroll: true });
  }

  get #view() {
    return this.querySelector(".log-text");
  }

  /** All places of what is searched for: {block, line, at}. */
  #found() {
    if (this.#needle === "") return [];
    return this.#log.blocks.flatMap((block) => block.lines.flatMap(({ text }, line) => occurrences(text, this.#needle).map((at) => ({ block, line, at }))));
  }

  #type(needle) {
    clearTimeout(this.#typing);
    this.#typing = setTimeout(() => this.#search(needle), TYPING_MS);
  }

  #search(needle) {
    clearTimeout(this.#typing);
    this.#needle = needle;
    this.#chosen = 0;
    this.#go(0);
  }

  #go(step) {
    const { length } = this.#found();
    this.#chosen = length === 0 ? 0 : (this.#chosen + step + length) % length;
    if (length > 0) this.#sticks = false;
    this.update();
    // After the blocks have drawn their marks; and once more, because blocks that come into sight may be higher than was assumed.
    requestAnimationFrame(() => {
      this.#show();
      requestAnimationFrame(() => this.#show());
    });
  }

  /** Scrolls the log, and not the page, to the chosen mark. */
  #show() {
    const view = this.#view;
    const mark = this.querySelector("mark[data-current]")?.getBoundingClientRect();
    if (!view || !mark) return;
    const frame = view.getBoundingClientRect();
    if (mark.top < frame.top || mark.bottom > frame.bottom) view.scrollTop += mark.top - frame.top - frame.height / 2;
    if (mark.left < frame.left || mark.right > frame.right) view.scrollLeft += mark.left - frame.left - frame.width / 2;
  }

  #typed(event) {
    if (event.key === "Enter" && event.target.value !== this.#needle) this.#search(event.target.value);
    else if (event.key === "Enter") this.#go(event.shiftKey ? -1 : 1);
    else if (event.key === "Escape" && this.#needle !== "") this.#search("");
    else return;
    event.preventDefault();
  }

  #instead() {
    if (this.#isRemoved) return "The log was removed: logs are not kept for ever.";
    if (this.#isOver) return this.container ? "There is no log for this invocation." : "Nothing was printed: it had no container.";
    if (this.#isTroubled) return "The log cannot be followed right now; trying again.";
    return isFinal(this.status) ? "Loading the log…" : "Nothing has been printed yet.";
  }

  template() {
    const { blocks, isCut } = this.#log;
    const isEmpty = blocks.length === 0;
    const found = this.#found();
    const current = found[this.#chosen];
    return html`
      <section class="log-pane" aria-label="Log">
        <header>
          <h3>Log</h3>
          ${this.#isTroubled && !isEmpty ? html`<span class="note" data-tone="waiting">The connection was lost; trying again.</span>` : nothing}
          <span class="spacer"></span>
          ${isEmpty ? nothing : this.#tools(found)}
        </header>
        <div class="log-frame">
          <div class="log-text" tabindex="0" role="region" aria-label="Log text" data-empty=${isEmpty ? "yes" : "no"} data-wrap=${this.#isWrapped ? "yes" : "no"} @scroll=${(event) => this.#scrolled(event.target)}>${isEmpty
            ? this.#instead()
            : html`<div class="log-lines">${repeat(blocks, (block) => block.number, (block) => html`<log-block data-full=${block.lines.length === BLOCK ? "yes" : "no"} .lines=${block.lines} .needle=${this.#needle} .current=${current?.block === block ? current : null}></log-block>`)}</div>`}</div>
          ${isEmpty || this.#isAtEnd ? nothing : html`<button type="button" class="quiet-button to-end" @click=${() => this.#toEnd()}>${this.#isOver ? "To the end" : "Follow to the end"}</button>`}
        </div>
        ${isCut ? html`<p class="quiet log-note">The last ${number(LINES)} lines; the whole log may have more.</p>` : nothing}
      </section>`;
  }

  #tools(found) {
    const isSearching = this.#needle !== "";
    return html`
      <span class="log-search" role="search" aria-label="In the log">
        <input class="form-control" type="search" aria-label="Search in the log" placeholder="Search" .value=${this.#needle} @input=${(event) => this.#type(event.target.value)} @keydown=${(event) => this.#typed(event)}>
        <span class="quiet numeral" role="status">${isSearching ? (found.length === 0 ? "not found" : `${this.#chosen + 1} of ${found.length}`) : nothing}</span>
        ${isSearching && found.length > 1 ? html`<button type="button" class="quiet-button" @click=${() => this.#go(-1)}>Previous<span class="visually-hidden"> in the log</span></button><button type="button" class="quiet-button" @click=${() => this.#go(1)}>Next<span class="visually-hidden"> in the log</span></button>` : nothing}
      </span>
      <button type="button" class="quiet-button" aria-pressed=${this.#isWrapped} @click=${() => this.#wrap()}>Wrap lines</button>
      <copy-button .text=${this.#copied} .name=${"log"}></copy-button>
      ${this.container ? html`
        <a class="quiet-button" href=${address.log(this.invocationId)} download=${`${this.container}.log`}>Download<span class="visually-hidden"> the log</span></a>
        <a class="quiet-button" href=${address.log(this.invocationId)} target="_blank" rel="noopener">Whole log</a>` : nothing}`;
  }

  #wrap() {
    this.#isWrapped = !this.#isWrapped;
    this.update();
  }
}

function isNearEnd({ scrollTop, scrollHeight, clientHeight }) {
  return scrollHeight - scrollTop - clientHeight <= NEAR;
}

define("log-pane", LogPane);
