// Copies what the browser needs of each library to <outdir>/<name>@<version>/.
//
//     node web-ui/vendor.mjs <node_modules> <outdir>
//
// The version stands in the path, so these files may be cached for ever. When index.html and js/vendor.js lie beside this
// script, it ends non-zero if they name a file that was not copied.

import { cpSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const FILES = {
  "lit-html": {
    "LICENSE": "LICENSE",
    "lit-html.js": "lit-html.js",
    "directive.js": "directive.js",
    "directive-helpers.js": "directive-helpers.js",
    "directives/if-defined.js": "directives/if-defined.js",
    "directives/live.js": "directives/live.js",
    "directives/repeat.js": "directives/repeat.js",
  },
  "bootstrap": {
    "LICENSE": "LICENSE",
    "dist/css/bootstrap.min.css": "bootstrap.min.css",
  },
  "chart.js": {
    "LICENSE.md": "LICENSE.md",
    "dist/chart.umd.min.js": "chart.umd.min.js",
  },
};

const [nodeModules, outdir] = process.argv.slice(2);
if (!nodeModules || !outdir) {
  console.error("usage: node web-ui/vendor.mjs <node_modules> <outdir>");
  process.exit(2);
}

for (const [name, files] of Object.entries(FILES)) {
  const { version } = JSON.parse(readFileSync(join(nodeModules, name, "package.json"), "utf8"));
  for (const [source, target] of Object.entries(files)) {
    const destination = join(outdir, `${name}@${version}`, target);
    mkdirSync(dirname(destination), { recursive: true });
    cpSync(join(nodeModules, name, source), destination);
  }
  console.log(`${name}@${version}`);
}

const here = dirname(fileURLToPath(import.meta.url));
const missing = ["index.html", "js/vendor.js"]
  .map((file) => join(here, file))
  .filter((file) => existsSync(file))
  .flatMap((file) => [...readFileSync(file, "utf8").matchAll(/"\/vendor\/([^"]+)"/g)].map((match) => match[1]))
  .filter((path) => !existsSync(join(outdir, path)));
if (missing.length > 0) {
  console.error(`not among the copied files, but used by the dashboard: ${missing.join(", ")}`);
  process.exit(1);
}
