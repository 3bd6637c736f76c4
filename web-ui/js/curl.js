// A call as a command for a terminal.

/** The curl command that calls a function with these parameters, from wherever this page was loaded. */
export function curlFor(functionName, parameters, { isAsync = false } = {}) {
  const body = JSON.stringify({ function: functionName, parameters: parameters ?? {} });
  const lines = [`curl -X POST ${location.origin}/invoke`, `-H 'Content-Type: application/json'`];
  if (isAsync) lines.push(`-H 'Prefer: respond-async'`);
  lines.push(`-d ${quoted(body)}`);
  return lines.join(" \\\n  ");
}

/** For a POSIX shell: within single quotes everything is as it is, but the quote itself. */
function quoted(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}
