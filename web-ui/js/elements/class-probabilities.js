import { ChartElement } from "../chart.js";
import { define } from "../element.js";
import { percent } from "../format.js";
import { html } from "../vendor.js";

/** One row's prediction: the class, how sure, and the probability of each class as a bar chart with the same numbers as a table. */
class ClassProbabilities extends ChartElement {
  static inputs = ["prediction", "probabilities"];

  #entries() {
    return Object.entries(this.probabilities ?? {});
  }

  template() {
    const entries = this.#entries();
    const sentence = entries.map(([label, share]) => `${label} ${percent(share)}`).join(", ");
    return html`
      <p class="prediction"><span class="quiet">Predicted class</span><strong>${this.prediction}</strong>
        <span class="quiet">with ${percent(this.probabilities?.[this.prediction])} probability</span></p>
      <div class="chart" ?hidden=${!this.hasChart}><canvas role="img" aria-label=${`Bar chart of class probabilities: ${sentence}`}></canvas></div>
      <details class="fold" ?open=${!this.hasChart}>
        <summary>Probabilities as a table</summary>
        <table class="table table-sm">
          <caption class="visually-hidden">Class probabilities</caption>
          <thead><tr><th scope="col">Class</th><th scope="col" class="numeral">Probability</th></tr></thead>
          <tbody>${entries.map(([label, share]) => html`<tr><th scope="row">${label}</th><td class="numeral">${share}</td></tr>`)}</tbody>
        </table>
      </details>`;
  }

  updated() {
    this.querySelector(".chart").style.height = `${this.#entries().length * 44 + 34}px`;
    super.updated();
  }

  configuration(colour) {
    const entries = this.#entries();
    return {
      type: "bar",
      data: {
        labels: entries.map(([label]) => label),
        datasets: [
          {
            label: "Probability",
            data: entries.map(([, share]) => share),
            backgroundColor: entries.map(([label]) => (label === String(this.prediction) ? colour("--accent") : colour("--bar"))),
            borderRadius: 4,
            barThickness: 20,
            minBarLength: 2,
          },
        ],
      },
      options: {
        indexAxis: "y",
        layout: { padding: { right: 56 } },
        plugins: { legend: { display: false }, tooltip: { callbacks: { label: (item) => percent(item.raw) } } },
        scales: {
          x: {
            min: 0,
            max: 1,
            border: { display: false },
            ticks: { stepSize: 0.25, maxRotation: 0, autoSkipPadding: 12, callback: (share) => `${Math.round(share * 100)} %` },
          },
          y: { border: { display: false }, grid: { display: false }, ticks: { color: colour("--text"), font: { size: 14 } } },
        },
      },
      plugins: [valuesBesideBars(colour("--text"))],
    };
  }
}

function valuesBesideBars(colour) {
  return {
    id: "valuesBesideBars",
    afterDatasetsDraw(chart) {
      const { ctx } = chart;
      ctx.save();
      ctx.fillStyle = colour;
      ctx.font = `600 13px ${getComputedStyle(chart.canvas).fontFamily}`;
      ctx.textBaseline = "middle";
      chart.getDatasetMeta(0).data.forEach((bar, index) => ctx.fillText(percent(chart.data.datasets[0].data[index]), bar.x + 8, bar.y));
      ctx.restore();
    },
  };
}

define("class-probabilities", ClassProbabilities);
