// The addresses of the dashboard's pages: what stands after the # says which page is shown, and how.

/** One place that the address can lead to: {page, name, query}. `name` is what the page is about, `query` its filters. */
export function route(hash = location.hash) {
  const [path, search = ""] = hash.replace(/^#\/?/, "").split("?");
  const [page = "", name] = path.split("/");
  return { page: page || "overview", name: name === undefined || name === "" ? undefined : decode(name), query: new URLSearchParams(search) };
}

/** The address of a page; filters that are empty are left out. */
export function linkTo(page, name, filters = {}) {
  const query = new URLSearchParams(Object.entries(filters).filter(([, value]) => value !== undefined && value !== null && value !== ""));
  return `#/${page}${name === undefined ? "" : `/${encodeURIComponent(name)}`}${query.size ? `?${query}` : ""}`;
}

/** Changes the filters in the address without a new entry in the browser's history: typing is not navigating. */
export function refine(filters) {
  const { page, name } = route();
  history.replaceState(null, "", linkTo(page === "overview" ? "" : page, name, filters));
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
