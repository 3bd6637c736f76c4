// All requests of the dashboard, and all addresses it links to.

/** A refused or failed request, in the API's one error shape (RFC 9457). Also made here when no answer came at all. */
export class Problem extends Error {
  constructor(body) {
    super(body.detail || body.title);
    this.name = "Problem";
    this.title = body.title || "The request failed";
    this.detail = body.detail || "";
    this.status = body.status || 0;
    this.code = body.code || "unknown";
    this.errors = body.errors || [];
    this.function = body.function || null;
    this.invocationId = body.invocation_id || null;
    this.containerName = body.container_name || null;
    this.functionError = body.function_error || null;
    this.diagnosis = body.diagnosis || null;
    this.exitCode = body.exit_code ?? null;
    this.retryAfter = body.retry_after ?? null;
  }

  /** No answer, or none from the runner itself: it may be restarting, so trying again makes sense. */
  get isConnectionTrouble() {
    const isGateway = [502, 503, 504].includes(this.status) && this.code === "unknown";
    return isGateway || ["unreachable", "runner_unavailable", "runner_broke_off", "draining"].includes(this.code);
  }

  /** The same words for a failed invocation that was read from its record. */
  static fromRecord(record) {
    const error = record.error ?? {};
    return new Problem({
      title: error.type || `The invocation ${record.status === "timed_out" ? "timed out" : `was ${record.status}`}`,
      detail: error.message,
      code: error.code || record.status,
      errors: error.errors,
      diagnosis: error.diagnosis,
      function: record.function,
      invocation_id: record.invocation_id,
      container_name: record.container_name,
      exit_code: record.exit_code,
      function_error: error.stack_trace ? { type: error.type, message: error.message, stack_trace: error.stack_trace } : null,
    });
  }
}

const MOST_MODELS = 200;

export const api = {
  /** The readiness report; a runner that is up but not ready answers 503 with the same shape, which is no error here. */
  async ready(signal) {
    const response = await send("/ready", { signal });
    const body = await json(response);
    if (typeof body?.ready !== "boolean") throw problemOf(response, body);
    return body;
  },

  /** What the system knows of itself; a part that could not be found out is {error}. */
  debug(signal) {
    return get("/debug", signal);
  },

  async functions(signal) {
    return (await get("/functions", signal)).functions;
  },

  function(name, signal) {
    return get(`/functions/${encodeURIComponent(name)}`, signal);
  },

  /**
   * Runs a function. `prefer` says how long to wait (RFC 7240): "wait=1" gives the answer if there is one within a second,
   * "respond-async" runs in the background; what has not ended by then comes as its record. Aborting the signal only stops waiting.
   */
  async invoke(functionName, parameters, prefer, signal) {
    const response = await send("/invoke", {
      method: "POST",
      headers: { "Content-Type": "application/json", Prefer: prefer },
      body: JSON.stringify({ function: functionName, parameters }),
      signal,
    });
    return answer(response);
  },

  /** Ends an invocation wherever it stands; gives its record. Refused when it has ended in another way. */
  cancel(id) {
    return change("POST", `/invocations/${encodeURIComponent(id)}/cancel`);
  },

  /** Builds the image of a function's present source, and waits: {function, state, image, log}. Nothing is done when it is there. */
  build(functionName) {
    return change("POST", `/functions/${encodeURIComponent(functionName)}/build`);
  },

  invocations(limit, signal) {
    return get(`/invocations?limit=${limit}`, signal);
  },

  /** One page of the history: {invocations, next}. Filters without a value are left out. */
  history(filters, signal) {
    const query = new URLSearchParams(Object.entries(filters).filter(([, value]) => value !== undefined && value !== null && value !== ""));
    return get(`/invocations?${query}`, signal);
  },

  invocation(id, signal) {
    return get(`/invocations/${encodeURIComponent(id)}`, signal);
  },

  /** What an invocation has printed so far, as text. */
  async log(id, signal) {
    const response = await send(address.log(id), { signal });
    if (!response.ok) throw problemOf(response, await json(response));
    return response.text();
  },

  /**
   * Runs it again with the same parameters, `against` the image and model of then ("same") or those of "today": {original, replay,
   * same_result}. After `seconds` without an end the replay goes on, and what came is its record as it is.
   */
  async replay(id, against, seconds) {
    const path = `/invocations/${encodeURIComponent(id)}/replay`;
    return answer(await send(path, { method: "POST", headers: { "Content-Type": "application/json", Prefer: `wait=${seconds}` }, body: JSON.stringify({ against }) }));
  },

  async models(signal) {
    return (await get(`/models?limit=${MOST_MODELS}`, signal)).models;
  },

  modelVersion(model, version, signal) {
    return get(`/models/${encodeURIComponent(model)}/versions/${encodeURIComponent(version)}`, signal);
  },

  /** Where a model's aliases point, and their moves: {aliases, history}. */
  aliases(model, signal) {
    return get(`/models/${encodeURIComponent(model)}/aliases`, signal);
  },

  /** Refused when the alias does not mean `expected` any more (null: there is none yet), so that nobody undoes another's move unseen. */
  moveAlias(model, alias, version, expected) {
    return change("PUT", aliasAt(model, alias), { version, expected_version: expected });
  },

  rollBackAlias(model, alias, expected) {
    return change("POST", `${aliasAt(model, alias)}/rollback`, { expected_version: expected });
  },

  deleteAlias(model, alias, expected) {
    return change("DELETE", `${aliasAt(model, alias)}?expected_version=${encodeURIComponent(expected)}`);
  },

  compareVersions(model, versions, signal) {
    return get(`/models/${encodeURIComponent(model)}/compare?versions=${encodeURIComponent(versions)}`, signal);
  },

  compareInvocations(ids, signal) {
    return get(`/compare/invocations?ids=${encodeURIComponent(ids)}`, signal);
  },

  /** How invocations went in the last "1h", "24h" or "7d": in all, by function, and over time. */
  statistics(window, signal) {
    return get(`/statistics?window=${window}`, signal);
  },

  /** Newest first; null when there is no such model. The list is asked first, so that a house without models causes no error. */
  async modelVersions(model, signal) {
    const models = await this.models(signal);
    if (models.length < MOST_MODELS && !models.some(({ name }) => name === model)) return null;
    return (await get(`/models/${encodeURIComponent(model)}/versions?limit=100`, signal)).versions;
  },
};

export const address = {
  function: (name) => `#/functions/${encodeURIComponent(name)}`,
  invocation: (id) => `#/invocations/${encodeURIComponent(id)}`,
  log: (id) => `/invocations/${encodeURIComponent(id)}/logs`,
  /** For EventSource: the log as it is written, from its last lines or from the last event that came. */
  live: (id, lines, lastId) => `${address.log(id)}?${new URLSearchParams(lastId === null ? { tail: lines } : { last_event_id: lastId })}`,
  buildLog: (name) => `/functions/${encodeURIComponent(name)}/build/log`,
  run: (experimentId, runId) => `/mlflow/#/experiments/${encodeURIComponent(experimentId)}/runs/${encodeURIComponent(runId)}`,
  model: (name) => `/mlflow/#/models/${encodeURIComponent(name)}`,
  modelVersion: (name, version) => `/mlflow/#/models/${encodeURIComponent(name)}/versions/${encodeURIComponent(version)}`,
};

function aliasAt(model, alias) {
  return `/models/${encodeURIComponent(model)}/aliases/${encodeURIComponent(alias)}`;
}

async function change(method, path, body) {
  const options = body === undefined ? {} : { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  return answer(await send(path, { method, ...options }));
}

async function get(path, signal) {
  return answer(await send(path, { signal }));
}

async function send(path, options, triesLeft = (options.method ?? "GET") === "GET" ? 1 : 0) {
  try {
    return await fetch(path, { cache: "no-store", ...options, headers: { Accept: "application/json, text/plain;q=0.9", ...options.headers } });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    // Chromium drops connections that are being made while a container's network interface appears. Reading again is harmless.
    if (triesLeft > 0) return send(path, options, triesLeft - 1);
    throw new Problem({
      title: "No answer",
      detail: "The server does not answer. It may be restarting, or the connection is broken.",
      code: "unreachable",
    });
  }
}

async function answer(response) {
  const body = await json(response);
  if (!response.ok || body === undefined) throw problemOf(response, body);
  return body;
}

async function json(response) {
  try {
    return await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    return undefined;
  }
}

function problemOf(response, body) {
  if (body && typeof body === "object" && (body.title || body.detail)) return new Problem({ status: response.status, ...body });
  return new Problem({
    title: `Unexpected answer (${response.status})`,
    detail: "The server answered with something this page does not understand. It may be starting; try again in a moment.",
    status: response.status,
  });
}
