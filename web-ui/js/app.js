// Connects the page: which address shows what, and the catalog of functions that several elements need.

import { address, api } from "./api.js";
import { icons } from "./icons.js";
import { poll } from "./poll.js";
import { html, nothing, render, repeat } from "./vendor.js";
import "./elements/connection-notice.js";
import "./elements/function-nav.js";
import "./elements/function-page.js";
import "./elements/health-state.js";
import "./elements/invocation-page.js";
import "./elements/problem-alert.js";
import "./elements/recent-invocations.js";
import "./elements/theme-toggle.js";

const CATALOG_PACE = 4000;
const CHANGING_PACE = 1500;
const PRODUCT = "Serverless MLOps";

const main = document.getElementById("main");
const nav = document.querySelector("function-nav");
const recent = document.querySelector("recent-invocations");

let functions;
let catalogProblem = null;
let isReachable = true;
// Pages stay once they were opened: a form keeps what was typed and a call goes on while another function is looked at.
const opened = new Set();
main.replaceChildren();

const look = poll(readCatalog, () => (isChanging() ? CHANGING_PACE : CATALOG_PACE), new AbortController().signal);

addEventListener("hashchange", () => {
  show();
  scrollTo(0, 0);
  // After the page has rendered: whoever uses a keyboard or a screen reader starts at its heading.
  requestAnimationFrame(() => [...main.querySelectorAll("h1")].find((heading) => heading.checkVisibility())?.focus({ preventScroll: true }));
});
document.addEventListener("invocation:finished", () => look());
document.addEventListener("health", (event) => {
  if (event.detail.isReachable && !isReachable) {
    document.dispatchEvent(new CustomEvent("runner:back"));
    look();
  }
  isReachable = event.detail.isReachable;
});
document.querySelector(".skip-link").addEventListener("click", (event) => {
  // The address after # says which page is shown, so this link must not change it.
  event.preventDefault();
  main.focus();
});

show();
started();

async function readCatalog(signal) {
  try {
    functions = await api.functions(signal);
    catalogProblem = null;
  } catch (error) {
    if (signal.aborted) return;
    catalogProblem = error;
    throw error;
  } finally {
    if (!signal.aborted) show();
  }
}

/** The function on show has containers that come or go: its line should not lag behind. */
function isChanging() {
  const pool = functions?.find((one) => one.name === route().function)?.pool;
  return Boolean(pool && (pool.starting || pool.busy || pool.waiting));
}

/** {function} or {invocation}. Without an address: train, where a newcomer begins, or else the first function. */
function route() {
  const [, kind, name] = location.hash.match(/^#\/(functions|invocations)\/([^/?]+)/) ?? [];
  if (kind === "functions") return { function: decode(name) };
  if (kind === "invocations") return { invocation: decode(name) };
  return { function: functions?.find((one) => one.name === "train")?.name ?? functions?.[0]?.name };
}

function show() {
  const at = route();
  const isKnown = functions?.some((one) => one.name === at.function);
  if (isKnown) opened.add(at.function);
  nav.functions = functions;
  nav.current = at.function;
  recent.current = at.invocation;
  document.title = [at.function ?? (at.invocation && "Invocation"), PRODUCT].filter(Boolean).join(" · ");
  const pages = (functions ?? []).filter((one) => opened.has(one.name));
  render(
    html`
      ${repeat(pages, (one) => one.name, (one) => html`<function-page .function=${one} ?hidden=${one.name !== at.function}></function-page>`)}
      ${at.invocation ? html`<invocation-page .invocationId=${at.invocation}></invocation-page>` : isKnown ? nothing : instead(at)}`,
    main,
  );
}

/** What the main part says when there is no function to show. */
function instead(at) {
  if (functions === undefined && catalogProblem) {
    return html`<div class="panel"><div class="empty">${icons.broken}<h1 class="lead" tabindex="-1">The functions cannot be loaded.</h1><p class="quiet">${catalogProblem.message} This page tries again by itself.</p><button type="button" class="btn btn-quiet" @click=${look}>Try now</button></div></div>`;
  }
  if (functions === undefined) return html`<div class="panel loading" aria-busy="true"><p class="visually-hidden">Loading</p><span class="placeholder-line"></span><span class="placeholder-line"></span><span class="placeholder-line"></span></div>`;
  if (functions.length === 0) {
    return html`<div class="panel"><div class="empty">${icons.folder}<h1 class="lead" tabindex="-1">No functions yet.</h1><p class="quiet">Drop a folder with a Dockerfile and a handler into <code>functions/</code>; it appears here by itself.</p></div></div>`;
  }
  return html`<div class="panel"><div class="empty">${icons.folder}<h1 class="lead" tabindex="-1">There is no function named ${at.function}.</h1><p class="quiet">Choose one: ${functions.map((one, index) => html`${index > 0 ? ", " : ""}<a href=${address.function(one.name)}>${one.name}</a>`)}.</p></div></div>`;
}

/** Everything has arrived: reload.js may start counting anew. */
function started() {
  try {
    sessionStorage.removeItem("reloads");
  } catch {
    // No storage, nothing counted.
  }
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
