import { AppElement, define } from "../element.js";
import { occurrences } from "../log-text.js";
import { html, nothing } from "../vendor.js";

/** Some lines of a log with their colours; what is searched for is marked. `current` is the chosen one of the marks: {line, at}, or null. */
class LogBlock extends AppElement {
  static inputs = ["lines", "needle", "current"];

  template() {
    const parts = [];
    let plain = "";
    const flush = () => {
      if (plain) parts.push(plain);
      plain = "";
    };
    (this.lines ?? []).forEach((line, number) => {
      const places = occurrences(line.text, this.needle ?? "");
      const current = this.current?.line === number ? this.current.at : -1;
      for (const { text, look, mark } of pieces(line.runs, places, (this.needle ?? "").length)) {
        if (!look && mark < 0) {
          plain += text;
        } else {
          flush();
          parts.push(mark < 0 ? html`<span class=${look}>${text}</span>` : html`<mark data-current=${mark === current ? "yes" : nothing}>${text}</mark>`);
        }
      }
      plain += "\n";
    });
    flush();
    return html`${parts}`;
  }
}

/** The runs of a line, cut where something is marked; `mark` is where the found words begin, or -1. */
function* pieces(runs, places, length) {
  let at = 0;
  for (const { text, look } of runs) {
    const end = at + text.length;
    for (const place of places.filter((one) => one < end && one + length > at)) {
      const from = Math.max(place, end - text.length);
      if (from > at) yield { text: text.slice(text.length - end + at, text.length - end + from), look, mark: -1 };
      const to = Math.min(place + length, end);
      yield { text: text.slice(text.length - end + from, text.length - end + to), look, mark: place };
      at = to;
    }
    if (end > at) yield { text: text.slice(text.length - end + at), look, mark: -1 };
    at = end;
  }
}

define("log-block", LogBlock);
