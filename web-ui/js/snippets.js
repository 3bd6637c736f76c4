// A call as others would make it: the command for a shell, and the lines for Python. Pure; everything is quoted for where it is pasted.

// Linux takes an argument of at most 128 KiB; what is longer goes in as a here-document.
const LONGEST_ARGUMENT = 100_000;

/** The curl command of a call. In the background it shows the headers too: Location says where the record is. */
export function curlFor(origin, name, parameters, isBackground) {
  const body = JSON.stringify({ function: name, parameters });
  const isLong = body.length > LONGEST_ARGUMENT;
  const lines = [
    `curl ${isBackground ? "-i " : ""}-X POST ${shellWord(`${origin}/invoke`)}`,
    `-H ${shellWord("Content-Type: application/json")}`,
    ...(isBackground ? [`-H ${shellWord("Prefer: respond-async")}`] : []),
    isLong ? "--data-binary @- <<'END_OF_BODY'" : `-d ${shellWord(body)}`,
  ];
  return lines.join(" \\\n  ") + (isLong ? `\n${body}\nEND_OF_BODY` : "");
}

/** The same with the library requests; in the background it looks at the record until it has ended. */
export function pythonFor(origin, name, parameters, isBackground) {
  const call = [
    "response = requests.post(",
    `    ${pythonValue(`${origin}/invoke`)},`,
    ...(isBackground ? [`    headers={"Prefer": "respond-async"},`] : []),
    `    json={"function": ${pythonValue(name)}, "parameters": ${pythonValue(parameters)}},`,
    ")",
    "response.raise_for_status()",
  ];
  if (!isBackground) return ["import requests", "", ...call, 'print(response.json()["result"])'].join("\n");
  return [
    "import time",
    "",
    "import requests",
    "",
    ...call,
    "record = response.json()",
    'while record["status"] in ("queued", "starting", "running"):',
    "    time.sleep(1)",
    `    record = requests.get(${pythonValue(`${origin}/invocations/`)} + record["invocation_id"]).json()`,
    'print(record["status"], record["result"])',
  ].join("\n");
}

/** Within single quotes a shell takes everything as it is, but the single quote itself. */
function shellWord(text) {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** JSON's texts and numbers are Python's as well; its three words are not. */
function pythonValue(value) {
  if (value === null) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map(pythonValue).join(", ")}]`;
  if (typeof value === "object") return `{${Object.entries(value).map(([name, one]) => `${JSON.stringify(name)}: ${pythonValue(one)}`).join(", ")}}`;
  return JSON.stringify(value);
}
