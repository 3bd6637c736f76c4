// Connects the page: which address shows what, and the catalog of functions that several elements need.

import { address, api } from "./api.js";
import { icons } from "./icons.js";
import { loading } from "./parts.js";
import { poll } from "./poll.js";
import { route } from "./routes.js";
import { html, nothing, render, repeat } from "./vendor.js";
import "./elements/app-nav.js";
import "./elements/compare-page.js";
import "./elements/connection-notice.js";
import "./elements/function-nav.js";
import "./elements/function-page.js";
import "./elements/functions-page.js";
import "./elements/health-state.js";
import "./elements/invocation-page.js";
import "./elements/invocations-page.js";
import "./elements/model-page.js";
import "./elements/models-page.js";
import "./elements/overview-page.js";
import "./elements/problem-alert.js";
import "./elements/recent-invocations.js";
import "./elements/system-page.js";
import "./elements/theme-toggle.js";

const CATALOG_PACE = 4000;
const CHANGING_PACE = 1500;
const PRODUCT = "Serverless MLOps";

/** What is shown on each page but those of single functions, which stay open. */
const PAGES = {
  overview: { title: () => "Overview", view: (at) => html`<overview-page .query=${at.query}></overview-page>` },
  invocations: {
    title: (at) => (at.name ? "Invocation" : "Invocations"),
    view: (at) => (at.name ? html`<invocation-page .invocationId=${at.name}></invocation-page>` : html`<invocations-page .query=${at.query}></invocations-page>`),
  },
  models: {
    title: (at) => at.name ?? "Models",
    view: (at) => (at.name ? html`<model-page .model=${at.name} .query=${at.query}></model-page>` : html`<models-page></models-page>`),
  },
  compare: { title: () => "Compare", view: (at) => html`<compare-page .query=${at.query}></compare-page>` },
  system: { title: () => "System", view: () => html`<system-page></system-page>` },
};

/** Also what an address shows that leads nowhere. */
const ALL_FUNCTIONS = { title: () => "Functions", view: () => html`<functions-page .functions=${functions} .catalogProblem=${catalogProblem}></functions-page>` };

const main = document.getElementById("main");
const floor = document.querySelector(".floor");
const pages = document.querySelector("app-nav");
const nav = document.querySelector("function-nav");

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
for (const type of ["invocation:finished", "function:built", "functions:read"]) document.addEventListener(type, () => look());
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
  const pool = functions?.find((one) => one.name === functionAt(route()))?.pool;
  return Boolean(pool && (pool.starting || pool.busy || pool.waiting));
}

/** The function that an address is about, if it is about one. */
function functionAt(at) {
  return at.page === "functions" ? at.name : undefined;
}

function show() {
  const at = route();
  const name = functionAt(at);
  const page = name === undefined ? PAGES[at.page] ?? ALL_FUNCTIONS : null;
  const isKnown = functions?.some((one) => one.name === name);
  if (isKnown) opened.add(name);
  floor.dataset.layout = page ? "page" : "function";
  pages.current = page && page !== ALL_FUNCTIONS ? (at.page === "compare" ? (at.query.has("model") ? "models" : "invocations") : at.page) : "functions";
  nav.functions = functions;
  nav.current = name;
  document.title = [page?.title(at) ?? name, PRODUCT].filter(Boolean).join(" · ");
  const kept = (functions ?? []).filter((one) => opened.has(one.name));
  render(
    html`
      ${repeat(kept, (one) => one.name, (one) => html`<function-page .function=${one} .isShown=${one.name === name} ?hidden=${one.name !== name}></function-page>`)}
      ${page ? page.view(at) : isKnown ? nothing : instead(name)}`,
    main,
  );
}

/** What the main part says when there is no function to show. */
function instead(name) {
  if (functions === undefined && catalogProblem) {
    return html`<div class="panel"><div class="empty">${icons.broken}<h1 class="lead" tabindex="-1">The functions cannot be loaded.</h1><p class="quiet">${catalogProblem.message} This page tries again by itself.</p><button type="button" class="btn btn-quiet" @click=${look}>Try now</button></div></div>`;
  }
  if (functions === undefined) return html`<div class="panel loading" aria-busy="true">${loading(3)}</div>`;
  if (functions.length === 0) {
    return html`<div class="panel"><div class="empty">${icons.folder}<h1 class="lead" tabindex="-1">No functions yet.</h1><p class="quiet">Drop a folder with a Dockerfile and a handler into <code>functions/</code>; it appears here by itself.</p></div></div>`;
  }
  return html`<div class="panel"><div class="empty">${icons.folder}<h1 class="lead" tabindex="-1">There is no function named ${name}.</h1><p class="quiet">Choose one: ${functions.map((one, index) => html`${index > 0 ? ", " : ""}<a href=${address.function(one.name)}>${one.name}</a>`)}.</p></div></div>`;
}

/** Everything has arrived: reload.js may start counting anew. */
function started() {
  try {
    sessionStorage.removeItem("reloads");
  } catch {
    // No storage, nothing counted.
  }
}
