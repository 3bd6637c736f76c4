// What all charts share: colours from the theme, the page's font, no animation, and a way on when the library is missing.

import { AppElement } from "./element.js";
import { loadChart } from "./vendor.js";

/** An element that renders one canvas, and draws into it what its `configuration` says; beside it a table says the same. */
export class ChartElement extends AppElement {
  /** False once the library did not arrive: then the table is all there is. */
  hasChart = true;
  #chart = null;

  /** What to draw, as Chart.js wants it. `colour(name)` is the value of a colour of the theme, by its name in CSS. */
  configuration(_colour) {}

  connected(signal) {
    document.addEventListener("theme:change", () => this.#drawAnew(), { signal });
  }

  disconnected() {
    this.#erase();
  }

  updated() {
    this.#draw();
  }

  async #draw() {
    if (!this.hasChart) return;
    let Chart;
    try {
      Chart = await loadChart();
    } catch {
      this.hasChart = false;
      this.update();
      return;
    }
    if (!this.isConnected) return;
    const style = getComputedStyle(this);
    const colour = (name) => style.getPropertyValue(name).trim();
    const configuration = this.configuration(colour);
    if (this.#chart?.data.datasets.length === configuration.data.datasets.length) {
      this.#renew(configuration.data);
      return;
    }
    this.#erase();
    Chart.defaults.font.family = style.fontFamily;
    Chart.defaults.color = colour("--text-quiet");
    Chart.defaults.borderColor = colour("--line");
    Chart.defaults.animation = false;
    Chart.defaults.maintainAspectRatio = false;
    this.#chart = new Chart(this.querySelector("canvas"), configuration);
  }

  /** Only the numbers are new: nothing flickers. */
  #renew({ labels, datasets }) {
    this.#chart.data.labels = labels;
    datasets.forEach((one, index) => Object.assign(this.#chart.data.datasets[index], one));
    this.#chart.update("none");
  }

  #drawAnew() {
    this.#erase();
    this.#draw();
  }

  #erase() {
    this.#chart?.destroy();
    this.#chart = null;
  }
}
