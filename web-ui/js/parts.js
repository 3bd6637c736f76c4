// Small parts that several pages show.

import { icons } from "./icons.js";
import { html, nothing } from "./vendor.js";

/** Lines in place of what is being read, about as high as it will be. */
export function placeholders(count) {
  return Array.from({ length: count }, () => html`<span class="placeholder-line"></span>`);
}

/** The same, said also to those who do not see it. */
export function loading(lines) {
  return html`<p class="visually-hidden">Loading</p>${placeholders(lines)}`;
}

/** What stands where nothing could be shown yet: `words` and the problem, or, without one, that it is being read. */
export function instead(problem, words, lines) {
  if (!problem) return loading(lines);
  return html`<div class="empty">${icons.broken}<p class="lead">${words}</p><p class="quiet">${problem.message} This page tries again by itself.</p></div>`;
}

/** Above what is shown although the last look failed. */
export function notUpToDate(problem) {
  return problem ? html`<p class="note" data-tone="waiting">Not up to date: ${problem.message}</p>` : nothing;
}

/** One figure, with its name above and a note below. */
export function tile(name, value, note, tone = "quiet") {
  return html`<div class="tile panel" data-tone=${tone}><h2>${name}</h2><p class="value">${value}</p><p class="quiet">${note}</p></div>`;
}
