import { address } from "../api.js";
import { AppElement, define } from "../element.js";
import { relativeTime, time } from "../format.js";
import { html, nothing } from "../vendor.js";

/** When a function runs by itself. */
class FunctionSchedules extends AppElement {
  static inputs = ["schedules"];

  template() {
    return html`<section class="panel" aria-label="Schedules">
      <h2>Schedules</h2>
      <div class="table-scroll" tabindex="0" role="group" aria-label="Schedules"><table class="table table-sm">
        <thead><tr><th scope="col">Name</th><th scope="col">When</th><th scope="col">Next</th><th scope="col">Last</th></tr></thead>
        <tbody>${this.schedules.map((one) => html`<tr>
          <th scope="row">${one.name}</th>
          <td><code>${one.cron}</code> <span class="aside">${one.timezone}</span></td>
          <td>${one.next_at ? html`<time datetime=${one.next_at}>${time(one.next_at)}</time>` : "–"}</td>
          <td>${this.#last(one)}${one.skipped ? html`<span class="aside">${one.skipped} left out, as an earlier one still ran</span>` : nothing}</td>
        </tr>`)}</tbody>
      </table></div>
    </section>`;
  }

  #last({ last_at: at, last_invocation_id: id }) {
    if (!at) return "–";
    const moment = html`<time datetime=${at} title=${time(at)}>${relativeTime(at)}</time>`;
    return id ? html`<a href=${address.invocation(id)}>${moment}</a>` : moment;
  }
}

define("function-schedules", FunctionSchedules);
