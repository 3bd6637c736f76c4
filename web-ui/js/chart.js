// What all charts share: colours from the theme, the page's font, no animation, and a way on when the library is missing.

import { loadChart } from "./vendor.js";

/** The value of a colour of the theme, by its name in CSS. */
export function coloursOf(element) {
  const style = getComputedStyle(element);
  return (name) => style.getPropertyValue(name).trim();
}

/**
 * Draws a chart into a canvas, in place of what was drawn there. Returns null when the library did not arrive or the canvas has left the
 * page: then the table beside it says the same.
 */
export async function draw(canvas, before, configuration) {
  let Chart;
  try {
    Chart = await loadChart();
  } catch {
    return null;
  }
  if (!canvas.isConnected) return null;
  before?.destroy();
  const colour = coloursOf(canvas);
  Chart.defaults.font.family = getComputedStyle(canvas).fontFamily;
  Chart.defaults.color = colour("--text-quiet");
  Chart.defaults.borderColor = colour("--line");
  return new Chart(canvas, configuration(colour));
}
