import { AppElement, define } from "../element.js";
import { percent } from "../format.js";
import { html, loadChart } from "../vendor.js";

/** One row's prediction: the class, how sure, and the probability of each class as a bar chart with the same numbers as a table. */
class ClassProbabilities extends AppElement {
  static inputs = ["prediction", "probabilities"];
  #chart = null;
  #drawn = null;
  #hasChart = true;

  connected(signal) {
    document.addEventListener("theme:change", () => this.#draw(), { signal });
  }

  disconnected() {
    this.#chart?.destroy();
    this.#chart = null;
    this.#drawn = null;
  }

  #entries() {
    return Object.entries(this.probabilities ?? {});
  }

  template() {
    const entries = this.#entries();
    const sentence = entries.map(([label, share]) => `${label} ${percent(share)}`).join(", ");
    return html`
      <p class="prediction"><span class="quiet">Predicted class</span><strong>${this.prediction}</strong>
        <span class="quiet">with ${percent(this.probabilities?.[this.prediction])} probability</span></p>
      <div class="chart" ?hidden=${!this.#hasChart}><canvas role="img" aria-label=${`Bar chart of class probabilities: ${sentence}`}></canvas></div>
      <details class="fold" ?open=${!this.#hasChart}>
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
    if (this.#drawn !== this.probabilities) this.#draw();
  }

  async #draw() {
    this.#drawn = this.probabilities;
    let Chart;
    try {
      Chart = await loadChart();
    } catch {
      // The library did not arrive: the table says the same.
      this.#hasChart = false;
      this.update();
      return;
    }
    if (!this.isConnected) return;
    this.#chart?.destroy();
    const colour = coloursOf(this);
    const entries = this.#entries();
    this.#chart = new Chart(this.querySelector("canvas"), {
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
        animation: false,
        maintainAspectRatio: false,
        layout: { padding: { right: 56 } },
        font: { family: getComputedStyle(this).fontFamily },
        plugins: { legend: { display: false }, tooltip: { callbacks: { label: (item) => percent(item.raw) } } },
        scales: {
          x: {
            min: 0,
            max: 1,
            border: { display: false },
            grid: { color: colour("--line") },
            ticks: { color: colour("--text-quiet"), stepSize: 0.25, maxRotation: 0, autoSkipPadding: 12, callback: (share) => `${Math.round(share * 100)} %` },
          },
          y: { border: { display: false }, grid: { display: false }, ticks: { color: colour("--text"), font: { size: 14 } } },
        },
      },
      plugins: [valuesBesideBars(colour("--text"), getComputedStyle(this).fontFamily)],
    });
  }
}

function coloursOf(element) {
  const style = getComputedStyle(element);
  return (name) => style.getPropertyValue(name).trim();
}

function valuesBesideBars(colour, family) {
  return {
    id: "valuesBesideBars",
    afterDatasetsDraw(chart) {
      const { ctx } = chart;
      ctx.save();
      ctx.fillStyle = colour;
      ctx.font = `600 13px ${family}`;
      ctx.textBaseline = "middle";
      chart.getDatasetMeta(0).data.forEach((bar, index) => ctx.fillText(percent(chart.data.datasets[0].data[index]), bar.x + 8, bar.y));
      ctx.restore();
    },
  };
}

define("class-probabilities", ClassProbabilities);
