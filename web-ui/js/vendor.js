// The only module that names the libraries' files: an import map would have to be inline, which the content policy forbids.
export { html, svg, nothing, render } from "/vendor/lit-html@3.3.3/lit-html.js";
export { ifDefined } from "/vendor/lit-html@3.3.3/directives/if-defined.js";
export { live } from "/vendor/lit-html@3.3.3/directives/live.js";
export { repeat } from "/vendor/lit-html@3.3.3/directives/repeat.js";

/** Chart.js, fetched when the first chart is drawn. Its ES module imports by bare name, so this is the UMD file. */
export async function loadChart() {
  await import("/vendor/chart.js@4.6.1/chart.umd.min.js");
  return globalThis.Chart;
}
