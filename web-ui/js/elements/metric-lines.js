import { ChartElement } from "../chart.js";
import { define } from "../element.js";
import { html } from "../vendor.js";

const MEASURES = ["accuracy", "precision", "recall", "f1_score"];
const COLOURS = ["--accent", "--good", "--making", "--bad"];
// Measures are often equal: lines of different kinds let the one below be seen, also without colours.
const DASHES = [[], [8, 4], [2, 3], [10, 3, 2, 3]];
const POINTS = ["circle", "rect", "triangle", "rectRot"];

/** A model's measures over its versions, as lines. The table of versions beside it has the same numbers. */
class MetricLines extends ChartElement {
  static inputs = ["versions"];

  template() {
    return html`<div class="chart tall" ?hidden=${!this.hasChart}><canvas role="img" aria-label="Line chart: measures by version; the table of versions has the same numbers"></canvas></div>`;
  }

  configuration(colour) {
    const ordered = [...this.versions].sort((a, b) => Number(a.version) - Number(b.version));
    const names = MEASURES.filter((name) => ordered.some((one) => typeof one.metrics[name] === "number"));
    return {
      type: "line",
      data: {
        labels: ordered.map((one) => one.version),
        datasets: names.map((name, index) => ({
          label: name.replaceAll("_", " "),
          data: ordered.map((one) => one.metrics[name] ?? null),
          borderColor: colour(COLOURS[index]),
          backgroundColor: colour(COLOURS[index]),
          borderWidth: 2,
          borderDash: DASHES[index],
          pointStyle: POINTS[index],
          pointRadius: ordered.length > 40 ? 0 : 3,
          spanGaps: true,
        })),
      },
      options: {
        interaction: { mode: "index", intersect: false },
        plugins: { legend: { position: "bottom", labels: { usePointStyle: true, pointStyleWidth: 10, boxHeight: 7 } } },
        scales: {
          x: { title: { display: true, text: "version" }, grid: { display: false } },
          y: { border: { display: false }, max: 1, suggestedMin: 0.8, ticks: { maxTicksLimit: 6 } },
        },
      },
    };
  }
}

define("metric-lines", MetricLines);
