// From a JSON Schema to the fields of a form, and from what was typed back to parameters. Pure; the elements draw it.
//
// Besides the schema's own words (type, enum, default, minimum, description, …) a property may carry two hints:
//
//     x-advanced: true            stands under "More options" instead of among the first fields
//     x-source: models            a choice among the registered models
//     x-source: model-versions    a choice among the versions of the model chosen in this form's `x-source: models` field
//
// Many rows may come as CSV: see csv.js.
//
// A text with `contentEncoding: base64` is a file to choose, one with a `contentMediaType` alone is a text that may be read from a file.
// An object with `properties` is a group of fields.
//
// The order of the fields is the order of `properties`. What no field can express (other objects, mixtures) is typed as JSON.

import { readNumbers } from "./csv.js";

// Groups within groups; what lies deeper is typed as JSON. A schema may lead back to itself.
const DEEPEST_GROUP = 3;

/**
 * The fields of a form, or null when the schema does not describe single parameters and all of them are typed as one JSON text.
 *
 * A field is {name, title, description, kind, isRequired, isNullable, isAdvanced, fallback, choices, minimum, maximum, …} with kind
 * one of boolean, choice, integer, number, text, file, list, group, json, mixed, models, model-versions.
 */
export function fieldsOf(schema) {
  const properties = schema?.properties;
  if (!properties || (Object.keys(properties).length === 0 && schema.additionalProperties !== false)) return null;
  return fieldsWithin(schema, schema, 0);
}

/**
 * What the field shows for a value: a string, true/false for a boolean, or for a group {texts by name, what it has `beyond` them, some
 * `other` value that is no object}. Undefined stands for "not given".
 */
export function textOf(field, value) {
  if (field.kind === "boolean") return value === true;
  if (field.kind === "group") return groupText(field, value);
  if (value === undefined) return "";
  if (value === null) return field.kind === "choice" ? JSON.stringify(null) : "";
  if (field.kind === "choice") return JSON.stringify(value);
  if (["list", "json"].includes(field.kind)) return listText(value) ?? JSON.stringify(value, null, Array.isArray(value) ? 0 : 2);
  return typeof value === "string" ? value : JSON.stringify(value);
}

/** What the field shows before anybody typed. */
export function initialText(field) {
  return textOf(field, field.fallback ?? (field.kind === "group" && field.isRequired ? {} : field.fallback));
}

/**
 * What was typed, as {value}, {} when the parameter is left out, or {error: "words that follow the field's name"}; where something in a
 * group is wrong, `error` is an object with such words by name.
 */
export function valueOf(field, text) {
  if (field.kind === "boolean") return text || field.fallback !== undefined || field.isRequired ? { value: Boolean(text) } : {};
  if (field.kind === "group") return groupValue(field, text);
  const trimmed = text.trim();
  if (trimmed === "") return emptyValue(field);
  switch (field.kind) {
    case "choice":
      return { value: JSON.parse(trimmed) };
    case "integer":
    case "number":
      return numberValue(field, trimmed);
    case "list":
    case "json":
      return jsonValue(field, trimmed);
    case "text":
    case "file":
      return textValue(field, text);
    default:
      return mixedValue(field, trimmed);
  }
}

/** The value, or where there is none, because something is wrong, what comes nearest to it: so that nothing that was typed is lost. */
export function typedOf(field, text) {
  const { value, error } = valueOf(field, text);
  if (!error) return value;
  if (field.kind !== "group") return text;
  const typed = field.fields.map((one) => [one.name, typedOf(one, text.texts[one.name])]).filter(([, one]) => one !== undefined);
  return { ...Object.fromEntries(typed), ...text.beyond };
}

/**
 * The errors of a field with one more, at a JSON Pointer that begins with the field's name: words, or for a group an object of such by
 * name, with those of the group itself under "". `wordsFor` says what is wrong, for a pointer that begins where the words will stand.
 */
export function withError(field, errors, pointer, wordsFor) {
  if (field.kind !== "group") return [errors, wordsFor(pointer)].filter(Boolean).join(" ");
  const inner = `/${pointer.split("/").slice(2).join("/")}`;
  const one = field.fields.find((each) => each.name === nameIn(inner));
  if (one) return { ...errors, [one.name]: withError(one, errors?.[one.name], inner, wordsFor) };
  return { ...errors, "": [errors?.[""], wordsFor(pointer)].filter(Boolean).join(" ") };
}

/** The errors of a field without those of what lies at this path within it; undefined when none is left. */
export function withoutError(errors, [name, ...inner]) {
  if (name === undefined || typeof errors !== "object") return undefined;
  // What is wrong with the group itself, a missing member for instance, may be right now.
  const { [name]: changed, "": _own, ...others } = errors;
  const left = withoutError(changed, inner);
  const all = left === undefined ? others : { ...others, [name]: left };
  return Object.keys(all).length > 0 ? all : undefined;
}

/** The name of the parameter that an error's JSON Pointer leads to: "/features/0/2" → "features". */
export function nameIn(pointer) {
  return pointer.split("/")[1]?.replaceAll("~1", "/").replaceAll("~0", "~") ?? "";
}

/** "1 to 1000", "at least 0": the allowed range in words, or "". */
export function rangeOf(field) {
  const { minimum, maximum, isMinimumExcluded, isMaximumExcluded } = field;
  if (minimum !== undefined && maximum !== undefined && !isMinimumExcluded && !isMaximumExcluded) return `${minimum} to ${maximum}`;
  return [
    minimum === undefined ? "" : `${isMinimumExcluded ? "more than" : "at least"} ${minimum}`,
    maximum === undefined ? "" : `${isMaximumExcluded ? "less than" : "at most"} ${maximum}`,
  ]
    .filter(Boolean)
    .join(", ");
}

function fieldsWithin(schema, root, depth) {
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties).map(([name, property]) => fieldOf(name, property, required.has(name), root, depth));
}

function fieldOf(name, property, isRequired, root, depth) {
  const declared = resolved(property, root);
  const branches = branchesOf(declared, root);
  const branch = mergedBranch(branches);
  return {
    name,
    title: declared.title ?? "",
    description: declared.description ?? "",
    isRequired,
    isNullable: branches.some((one) => isNull(one) || membersOf(one)?.includes(null)),
    isAdvanced: declared["x-advanced"] === true,
    fallback: declared.default,
    example: declared.examples?.[0],
    columns: columnsIn(declared.examples),
    ...kindOf(declared, branches.filter((one) => !isNull(one)), root, depth),
    minimum: branch.minimum ?? branch.exclusiveMinimum,
    maximum: branch.maximum ?? branch.exclusiveMaximum,
    isMinimumExcluded: branch.minimum === undefined && branch.exclusiveMinimum !== undefined,
    isMaximumExcluded: branch.maximum === undefined && branch.exclusiveMaximum !== undefined,
    step: branch.multipleOf,
    minLength: branch.minLength,
    maxLength: branch.maxLength,
  };
}

function kindOf(declared, branches, root, depth) {
  const source = declared["x-source"];
  const types = new Set(branches.map(typeOf));
  const takes = {
    numbers: types.has("number") || types.has("integer"),
    strings: types.has("string"),
    lists: types.has("array"),
    objects: types.has("object"),
  };
  if (source === "models" || source === "model-versions") return { kind: source, takes };

  if (branches.length > 0 && branches.every((one) => membersOf(one))) {
    const choices = branches.flatMap(membersOf).filter((member) => member !== null);
    if (choices.every((choice) => typeof choice !== "object")) return { kind: "choice", choices: [...new Set(choices)], takes };
  }
  if (types.size === 1) {
    const [type] = types;
    if (["boolean", "integer", "number"].includes(type)) return { kind: type, takes };
    if (type === "string") return { ...textKind(branches), takes, suggestions: suggestionsOf(branches) };
    if (type === "array") return { kind: "list", takes, ...listShape(branches) };
    const hasMembers = type === "object" && branches.length === 1 && Object.keys(branches[0].properties ?? {}).length > 0;
    if (hasMembers && depth < DEEPEST_GROUP) return { kind: "group", takes, fields: fieldsWithin(branches[0], root, depth + 1) };
    return { kind: "json", takes };
  }
  const areScalars = [...types].every((type) => ["string", "integer", "number"].includes(type));
  if (types.size > 0 && areScalars) return { kind: "mixed", takes, suggestions: suggestionsOf(branches) };
  if (takes.lists) return { kind: "list", takes, ...listShape(branches) };
  return { kind: "json", takes };
}

/** A text, one that stands in a file, or a file's bytes: https://json-schema.org/draft/2020-12/json-schema-validation#section-8 */
function textKind(branches) {
  const { contentEncoding, contentMediaType = "" } = branches.find((one) => one.contentEncoding || one.contentMediaType) ?? {};
  if (contentEncoding?.toLowerCase() === "base64") return { kind: "file", mediaType: contentMediaType };
  return { kind: "text", mediaType: contentMediaType };
}

/** The alternatives of a property as plain schemas with one type each. */
function branchesOf(schema, root) {
  const { anyOf, oneOf, ...rest } = schema;
  const alternatives = anyOf ?? oneOf;
  if (alternatives) return alternatives.flatMap((one) => branchesOf({ ...rest, ...resolved(one, root) }, root));
  if (Array.isArray(schema.type)) return schema.type.map((type) => ({ ...schema, type }));
  return [schema];
}

function resolved(schema, root) {
  let current = typeof schema === "object" && schema !== null ? schema : {};
  for (let hops = 0; current.$ref?.startsWith("#/") && hops < 8; hops += 1) {
    const { $ref, ...beside } = current;
    const target = $ref
      .slice(2)
      .split("/")
      .reduce((at, part) => at?.[part.replaceAll("~1", "/").replaceAll("~0", "~")], root);
    current = { ...target, ...beside };
  }
  return current;
}

function typeOf(schema) {
  if (schema.type) return schema.type;
  const member = membersOf(schema)?.find((one) => one !== null);
  if (member !== undefined) return Array.isArray(member) ? "array" : typeof member;
  if (schema.items) return "array";
  return schema.properties ? "object" : "any";
}

function membersOf(schema) {
  if (schema.enum) return schema.type ? schema.enum.filter((member) => fits(member, schema.type)) : schema.enum;
  if ("const" in schema) return [schema.const];
  return schema.type === "boolean" ? undefined : null;
}

function fits(member, type) {
  if (type === "integer") return Number.isInteger(member);
  if (type === "null") return member === null;
  if (type === "array") return Array.isArray(member);
  return typeof member === type;
}

function isNull(schema) {
  return schema.type === "null" || (!schema.type && (schema.const === null || schema.enum?.every((member) => member === null)));
}

/** The limits of a property whose alternatives do not contradict each other: the only one that has any. */
function mergedBranch(branches) {
  const limited = branches.filter((one) => !isNull(one));
  return limited.length === 1 ? limited[0] : {};
}

function suggestionsOf(branches) {
  return branches.flatMap((one) => membersOf(one) ?? []).filter((member) => member !== null).map(String);
}

function listShape(branches) {
  const items = branches.filter((one) => typeOf(one) === "array").map((one) => one.items);
  const alternatives = items.flatMap((item) => (item && typeof item === "object" ? branchesOf(item, {}) : [{}]));
  const types = new Set(alternatives.map(typeOf));
  return {
    takesRows: types.has("array") || types.has("any"),
    takesItems: [...types].some((type) => !["array", "object"].includes(type)),
    hasTextItems: types.has("string") && !types.has("number") && !types.has("integer"),
  };
}

function emptyValue(field) {
  if (field.kind === "choice" && !field.isRequired) return {};
  if (field.isNullable && (field.isRequired || field.fallback !== undefined)) return { value: null };
  if (field.isRequired && field.fallback === undefined) return { error: "is required" };
  return {};
}

function numberValue(field, text) {
  const value = Number(text);
  if (!Number.isFinite(value)) return { error: "must be a number" };
  if (field.kind === "integer" && !Number.isInteger(value)) return { error: "must be a whole number" };
  const { minimum, maximum, isMinimumExcluded, isMaximumExcluded } = field;
  const isTooLow = minimum !== undefined && (isMinimumExcluded ? value <= minimum : value < minimum);
  const isTooHigh = maximum !== undefined && (isMaximumExcluded ? value >= maximum : value > maximum);
  return isTooLow || isTooHigh ? { error: `must be ${rangeOf(field).replace(/^(\S+) to (\S+)$/, "between $1 and $2")}` } : { value };
}

function textValue(field, text) {
  if (field.minLength !== undefined && text.length < field.minLength) return { error: `must have at least ${field.minLength} characters` };
  if (field.maxLength !== undefined && text.length > field.maxLength) return { error: `must have at most ${field.maxLength} characters` };
  return { value: text };
}

function groupText(field, value) {
  const isObject = typeof value === "object" && value !== null && !Array.isArray(value);
  const members = isObject ? value : {};
  // An optional group that is not given shows none of its defaults: else it could not be left out.
  const shown = (one) => (one.name in members ? textOf(one, members[one.name]) : isObject ? initialText(one) : textOf(one, undefined));
  const names = new Set(field.fields.map((one) => one.name));
  return {
    texts: Object.fromEntries(field.fields.map((one) => [one.name, shown(one)])),
    beyond: Object.fromEntries(Object.entries(members).filter(([name]) => !names.has(name))),
    ...(isObject || value === null || value === undefined ? {} : { other: value }),
  };
}

function groupValue(field, text) {
  if (text.other !== undefined) return { value: text.other };
  if (!field.isRequired && isEmpty(field, text)) return emptyValue(field);
  const value = {};
  const error = {};
  for (const one of field.fields) {
    const found = valueOf(one, text.texts[one.name]);
    if (found.error) error[one.name] = found.error;
    else if (found.value !== undefined) value[one.name] = found.value;
  }
  return Object.keys(error).length > 0 ? { error } : { value: { ...value, ...text.beyond } };
}

function isEmpty(field, text) {
  if (field.kind === "boolean") return text === false;
  if (field.kind !== "group") return text.trim() === "";
  return text.other === undefined && Object.keys(text.beyond).length === 0 && field.fields.every((one) => isEmpty(one, text.texts[one.name]));
}

/** The names of a row's columns, where one of the schema's examples is a row by name. */
function columnsIn(examples) {
  const named = examples?.flat().find((one) => one && typeof one === "object" && !Array.isArray(one));
  return named ? Object.keys(named) : [];
}

/**
 * How many rows a text stands for, in words: "3 rows of 4 values"; "" when the field takes none, or the text is no table. What becomes
 * of the first line, when it is no numbers, is said as well.
 */
export function rowsIn(field, text) {
  if (field.kind !== "list" || !field.takesRows || field.hasTextItems || text.trim() === "") return "";
  const { value, leftOut } = jsonValue(field, text.trim());
  if (!Array.isArray(value) || value.length === 0) return "";
  const rows = value.every((one) => one === null || typeof one !== "object") ? [value] : value;
  const sizes = new Set(rows.map((row) => (Array.isArray(row) ? row.length : Object.keys(row ?? {}).length)));
  const size = sizes.size === 1 ? ` of ${countOf([...sizes][0], "value")}` : ", not all of the same length";
  return `${countOf(rows.length, "row")}${size}.${leftOut ? " The first line has no numbers and is left out; the columns are taken in their order." : ""}`;
}

function countOf(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

/** Strict JSON, or, where lists are taken, `5.1, 3.5, 1.4, 0.2` with one row in each line, or CSV. */
function jsonValue(field, text) {
  const takesTable = Boolean(field.takesRows) && !field.hasTextItems;
  if (field.kind === "json" || (takesTable ? /^[[{]/ : /^[[{"]/).test(text)) {
    try {
      return { value: JSON.parse(text) };
    } catch (error) {
      return { error: `is not valid JSON: ${error.message}` };
    }
  }
  const table = takesTable ? readNumbers(text) : null;
  if (table?.rows) return tableValue(field, table);
  if (table?.names) return { error: `must be numbers below the line of names; ${table.error}` };
  const rows = text
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => (field.hasTextItems ? line.split(/[,;]/) : line.split(/[,;\s]+/)).map((cell) => cell.trim()).filter(Boolean));
  const wrong = field.hasTextItems ? undefined : rows.flat().find((cell) => !Number.isFinite(Number(cell)));
  if (wrong !== undefined) {
    const where = table && rows.length > 1 ? table.error : `"${wrong}" is not a number`;
    return { error: `must be numbers separated by commas${field.takesRows ? ", one row in each line" : ""}, or JSON; ${where}` };
  }
  const values = field.hasTextItems ? rows : rows.map((row) => row.map(Number));
  if (values.length === 1 && field.takesItems !== false) return { value: values[0] };
  return { value: field.takesRows ? values : values.flat() };
}

/** CSV as rows: by name when its first line has the names that the schema's example has, else in their order. */
function tableValue(field, { rows, names }) {
  const isKnown = names?.length === field.columns.length && names.every((name) => field.columns.includes(name));
  if (names && isKnown) return { value: rows.map((row) => Object.fromEntries(names.map((name, index) => [name, row[index]]))) };
  if (names) return { value: rows, leftOut: names };
  return { value: rows.length === 1 && field.takesItems !== false ? rows[0] : rows };
}

/** Text that may also be a number, when the schema takes numbers. */
function mixedValue(field, text) {
  const isNumber = field.takes?.numbers && /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(text);
  if (!field.takes?.strings && field.takes?.numbers && !isNumber) return { error: "must be a number" };
  // A text that only looks like a number stays text where text is taken first: "3" is a model's version.
  if (isNumber && !(field.kind === "model-versions" && field.takes.strings)) return { value: Number(text) };
  return { value: text };
}

/** A list of plain values, or of rows of them, as people write it; null when it needs JSON. */
function listText(value) {
  if (!Array.isArray(value) || value.length === 0) return null;
  const isPlain = (one) => typeof one === "number" || (typeof one === "string" && /^[^\s,;"[\]{}]+$/.test(one));
  if (value.every(isPlain)) return value.join(", ");
  // A single row inside a list would read as a plain list.
  if (value.length > 1 && value.every((row) => Array.isArray(row) && row.length > 0 && row.every(isPlain))) return value.map((row) => row.join(", ")).join("\n");
  return null;
}
