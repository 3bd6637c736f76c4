// Sentences of the function runner, as they are shown.

import { html } from "./vendor.js";

/** A sentence whose words in backticks are names or commands: these are set as code. */
export function prose(text) {
  return text.split(/(`[^`]+`)/).map((part) => (/^`[^`]+`$/.test(part) ? html`<code>${part.slice(1, -1)}</code>` : part));
}
