import { ChartElement } from "../chart.js";
import { define } from "../element.js";
import { duration, status } from "../format.js";
import { html } from "../vendor.js";

const SHOWN = [
  ["succeeded", "--good"],
  ["failed", "--bad"],
  ["timed_out", "--making"],
  ["lost", "--waiting"],
  ["cancelled", "--bar"],
];

/** Invocations over time as bars, by how they ended; the same numbers as a table. */
class StatusChart extends ChartElement {
  static inputs = ["statistics"];

  template() {
    const { total, buckets } = this.statistics;
    const used = buckets.filter((one) => one.count > 0);
    return html`
      <div class="chart tall" ?hidden=${!this.hasChart}><canvas role="img" aria-label=${`Bar chart: ${total.count} invocations, ${total.failures} of them failed`}></canvas></div>
      <details class="fold" ?open=${!this.hasChart}>
        <summary>The same as a table</summary>
        <div class="table-scroll" tabindex="0" role="group" aria-label="Invocations over time">
          <table class="table table-sm">
            <thead><tr><th scope="col">From</th><th scope="col" class="numeral">Ended</th><th scope="col" class="numeral">Failed</th><th scope="col" class="numeral">Median</th><th scope="col" class="numeral">95 %</th></tr></thead>
            <tbody>${used.map((one) => html`<tr><th scope="row">${this.#moment(one.begins_at)}</th><td class="numeral">${one.count}</td><td class="numeral">${one.failures}</td><td class="numeral">${duration(one.total_ms.p50)}</td><td class="numeral">${duration(one.total_ms.p95)}</td></tr>`)}</tbody>
          </table>
        </div>
      </details>`;
  }

  #moment(iso) {
    const isLong = this.statistics.window === "7d";
    return new Intl.DateTimeFormat(undefined, { ...(isLong && { weekday: "short" }), hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(new Date(iso));
  }

  configuration(colour) {
    const { buckets } = this.statistics;
    const kinds = SHOWN.filter(([name]) => name === "succeeded" || buckets.some((one) => one.statuses[name]));
    return {
      type: "bar",
      data: {
        labels: buckets.map((one) => this.#moment(one.begins_at)),
        datasets: kinds.map(([name, tone]) => ({
          label: status(name).word,
          data: buckets.map((one) => one.statuses[name] ?? 0),
          backgroundColor: colour(tone),
          stack: "all",
        })),
      },
      options: {
        interaction: { mode: "index", intersect: false },
        plugins: { legend: { position: "bottom", labels: { boxWidth: 10, boxHeight: 10 } } },
        scales: {
          x: { stacked: true, grid: { display: false }, ticks: { maxRotation: 0, autoSkipPadding: 24 } },
          y: { stacked: true, beginAtZero: true, border: { display: false }, ticks: { precision: 0, maxTicksLimit: 5 } },
        },
        datasets: { bar: { categoryPercentage: 0.9, barPercentage: 0.95, borderRadius: 2 } },
      },
    };
  }
}

define("status-chart", StatusChart);
