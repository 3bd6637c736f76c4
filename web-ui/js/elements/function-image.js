import { address, api } from "../api.js";
import { AppElement, define } from "../element.js";
import { bytes, relativeTime, time } from "../format.js";
import { html, nothing } from "../vendor.js";
import "./busy-clock.js";
import "./problem-alert.js";

/** The image of a function, what its containers may use, and building it now. Tells "function:built". */
class FunctionImage extends AppElement {
  static inputs = ["function"];
  #since = null;
  #outcome = "";
  #problem = null;

  async #build() {
    if (this.#since !== null) return;
    const { name, state, image } = this.function;
    this.#since = performance.now();
    this.#outcome = "";
    this.#problem = null;
    this.update();
    try {
      const built = await api.build(name);
      const wasThere = state === "ready" && image?.id === built.image?.id;
      this.#outcome = wasThere ? "Nothing to do: the image of these files is there." : `Built in ${Math.max(1, Math.round((performance.now() - this.#since) / 1000))} s.`;
    } catch (error) {
      this.#problem = error;
    }
    this.#since = null;
    this.update();
    this.tell("function:built");
  }

  template() {
    const one = this.function;
    if (!one) return nothing;
    const { image, limits, retry_on: retryOn } = one;
    const isBusy = this.#since !== null;
    return html`<section class="panel" aria-label=${`Image of ${one.name}`}>
      <div class="panel-head">
        <h2>Image</h2>
        <button type="button" class="btn btn-quiet" aria-disabled=${isBusy ? "true" : "false"} @click=${() => this.#build()}>
          ${isBusy ? html`<span class="spinner" aria-hidden="true"></span> Building <busy-clock .since=${this.#since}></busy-clock>` : one.state === "build_failed" ? "Build again" : "Build now"}
        </button>
      </div>
      <p role="status" class=${this.#outcome ? "quiet" : "visually-hidden"}>${this.#outcome}</p>
      ${this.#problem ? html`<problem-alert .problem=${this.#problem}></problem-alert>` : nothing}
      <dl class="rows">
        <div><dt>Image</dt><dd class="wrap">${image?.tag ? html`<span class="mono">${image.tag}</span>` : html`<span class="quiet">not built yet</span>`}${image?.size_bytes ? html`<span class="aside">${bytes(image.size_bytes)}${image.built_at ? html`, built <time datetime=${image.built_at} title=${time(image.built_at)}>${relativeTime(image.built_at)}</time>` : nothing}</span>` : nothing}</dd></div>
        <div><dt>Build log</dt><dd><a href=${address.buildLog(one.name)} target="_blank" rel="noopener">Of the present files</a></dd></div>
        ${limits ? html`
          <div><dt>A container may use</dt><dd>${limits.memory_mb} MB of memory, ${limits.cpus} ${limits.cpus === 1 ? "CPU" : "CPUs"}, ${limits.timeout} s</dd></div>
          <div><dt>Kept ready</dt><dd>${limits.warm === 0 ? "none" : `${limits.warm}, up to ${limits.warm_max} when calls come quickly`}</dd></div>
          <div><dt>A container serves</dt><dd>${limits.invocations_per_container === 1 ? "one invocation" : `up to ${limits.invocations_per_container} invocations`}</dd></div>
          ${retryOn.length ? html`<div><dt>Tried again in the background</dt><dd>after ${retryOn.map((code) => code.replace("_", " ")).join(", ")}</dd></div>` : nothing}` : nothing}
      </dl>
    </section>`;
  }
}

define("function-image", FunctionImage);
