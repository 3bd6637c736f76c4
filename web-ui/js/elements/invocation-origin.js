import { address } from "../api.js";
import { AppElement, define } from "../element.js";
import { bytes, relativeTime, shortId, time } from "../format.js";
import { linkTo } from "../routes.js";
import { html, nothing } from "../vendor.js";
import "./copy-button.js";

const LOG_STATES = { open: "still being written", complete: "complete", truncated: "cut, because there was too much", partial: "its end is missing", missing: "missing", expired: "removed" };
const CALLBACK_STATES = { pending: "not delivered yet", delivered: "delivered", failed: "could not be delivered" };
const SCHEDULE = "schedule:";

/** Where an invocation comes from and what it ran with: its code, image, model and caller. What is not known is left out. */
class InvocationOrigin extends AppElement {
  static inputs = ["invocation"];

  template() {
    const one = this.invocation;
    if (!one) return nothing;
    return html`<dl class="rows">
      ${row("Function", html`<a href=${address.function(one.function)}>${one.function}</a>`)}
      ${one.source_hash ? row("Source", digest(one.source_hash, "source")) : nothing}
      ${one.image ? row("Image", html`<span class="mono wrap">${one.image.tag}</span>`, one.image.id ? digest(one.image.id, "image id") : undefined) : nothing}
      ${one.image?.base_id ? row("Base image", digest(one.image.base_id, "base image id")) : nothing}
      ${this.#model(one.mlflow)}
      ${one.mlflow?.run_id ? row("Run", one.mlflow.experiment_id ? html`<a class="mono" href=${address.run(one.mlflow.experiment_id, one.mlflow.run_id)}>${one.mlflow.run_id.slice(0, 8)} in MLflow</a>` : html`<span class="mono">${one.mlflow.run_id.slice(0, 8)}</span>`, html`<a href=${linkTo("invocations", undefined, { run_id: one.mlflow.run_id })}>Invocations that name it</a>`) : nothing}
      ${this.#caller(one)}
      ${this.#attempts(one)}
      ${one.cancel_requested_at ? row("Cancelled", moment(one.cancel_requested_at)) : nothing}
      ${one.replay_of ? row("Replay of", html`<a class="mono" href=${address.invocation(one.replay_of)}>${shortId(one.replay_of)}</a>`, html`<a href=${linkTo("compare", undefined, { ids: `${one.replay_of},${one.invocation_id}` })}>Compare both</a>`) : nothing}
      ${this.#callback(one.callback)}
      ${one.timeout_seconds ? row("Time allowed", `${one.timeout_seconds} s`) : nothing}
      ${one.parameters_sha256 ? row("Digest of parameters", digest(one.parameters_sha256, "digest of the parameters")) : nothing}
      ${one.result_sha256 ? row("Digest of result", digest(one.result_sha256, "digest of the result")) : nothing}
      ${one.log_file ? row("Log", html`<span class="mono wrap">${one.log_file}</span>`, [typeof one.log_bytes === "number" ? bytes(one.log_bytes) : "", LOG_STATES[one.log_state] ?? one.log_state ?? ""].filter(Boolean).join(", ")) : nothing}
      ${one.log_sha256 ? row("Digest of log", digest(one.log_sha256, "digest of the log")) : nothing}
    </dl>`;
  }

  #model(mlflow) {
    if (!mlflow?.model_name) return nothing;
    const { model_name: name, model_version: version, model_alias: alias } = mlflow;
    return row(
      "Model",
      html`<a href=${linkTo("models", name, { version })}>${name}${version ? ` version ${version}` : nothing}</a>`,
      html`${alias ? html`asked for as <code>${alias}</code> · ` : nothing}<a href=${version ? address.modelVersion(name, version) : address.model(name)}>in MLflow</a>`,
    );
  }

  #caller({ caller, mode }) {
    if (!caller) return nothing;
    if (caller.startsWith(SCHEDULE)) return row("Schedule", caller.slice(SCHEDULE.length));
    return row("Caller", html`<span class="mono">${caller}</span>`, mode === "async" ? "did not wait: it ran in the background" : "waited for the result");
  }

  #attempts({ attempt, max_attempts: most, next_attempt_at: next }) {
    if (!(most > 1) && !(attempt > 1)) return nothing;
    return row("Attempt", `${attempt}${most ? ` of at most ${most}` : ""}`, next ? html`the next one ${Date.parse(next) > Date.now() ? html`at ${moment(next)}` : "is due"}` : undefined);
  }

  #callback(callback) {
    if (!callback) return nothing;
    return row("Callback", html`<span class="wrap">${callback.url}</span>`, html`${CALLBACK_STATES[callback.state] ?? callback.state}${callback.delivered_at ? html` ${moment(callback.delivered_at)}` : nothing}${callback.attempts > 1 ? `, ${callback.attempts} attempts` : nothing}${callback.last_error && callback.state !== "delivered" ? `: ${callback.last_error}` : nothing}`);
  }
}

function row(name, value, aside) {
  return html`<div><dt>${name}</dt><dd>${value}${aside ? html`<span class="aside">${aside}</span>` : nothing}</dd></div>`;
}

function digest(value, name) {
  return html`<span class="mono" title=${value}>${value.replace(/^sha256:/, "").slice(0, 12)}</span> <copy-button .text=${value} .name=${name}></copy-button>`;
}

function moment(iso) {
  return html`<time datetime=${iso} title=${relativeTime(iso)}>${time(iso)}</time>`;
}

define("invocation-origin", InvocationOrigin);
