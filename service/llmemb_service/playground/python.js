/** API requests as code: curl, and Python with `llmemb.client`. */

const WIDTH = 88;
const KEY_VARIABLE = "LLMEMB_API_KEY";

/** A Python object, written as its class called with these keyword arguments. */
export class Raw {
  constructor(name, members) {
    this.name = name;
    this.members = members;
  }
}

/** Describe a call of the client; undefined arguments are omitted. */
export function pythonCall(method, given = [], named = {}, imports = []) {
  return { method, given, named, imports };
}

/** Return the Python code of a request; it reads the API key from the environment. */
export function python(call, origin, withKey) {
  const { method, given, named, imports } = call.python;
  const written = [...given.map((value) => literal(value)), ...namedArguments(named)];
  const line = `client.${method}(${written.join(", ")})`;
  const wrapped =
    line.length + 11 > WIDTH && written.length > 1
      ? `client.${method}(\n        ${written.join(",\n        ")},\n    )`
      : line;
  return [
    ...(withKey ? ["import os", ""] : []),
    ...imports,
    "from llmemb.client import Client",
    "",
    `with Client(${literal(origin)}${withKey ? `, api_key=os.environ["${KEY_VARIABLE}"]` : ""}) as client:`,
    `    answer = ${wrapped}`,
    "    print(answer)",
  ].join("\n");
}

/** Return the curl command of a request. */
export function curl(call, origin, withKey) {
  const url = quoted(origin + target(call));
  const parts = [
    call.method === "GET" || call.method === "POST" ? `curl -s ${url}` : `curl -s -X ${call.method} ${url}`,
  ];
  if (withKey) parts.push(`-H "Authorization: Bearer $${KEY_VARIABLE}"`);
  if (call.body) parts.push("-H 'Content-Type: application/json'", `-d ${quoted(JSON.stringify(call.body))}`);
  return parts.join(" \\\n  ");
}

/** The path of a request with its query string. */
export function target(call) {
  const given = Object.entries(call.query ?? {}).filter(([, value]) => value !== undefined && value !== null);
  return given.length ? `${call.path}?${new URLSearchParams(given)}` : call.path;
}

const quoted = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

function namedArguments(members) {
  return Object.entries(members)
    .filter(([, value]) => value !== undefined && value !== null)
    .map(([name, value]) => `${name}=${literal(value)}`);
}

function literal(value) {
  if (value instanceof Raw) return `${value.name}(${namedArguments(value.members).join(", ")})`;
  if (value === null) return "None";
  if (value === true || value === false) return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map((each) => literal(each)).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value)
      .map(([name, each]) => `${literal(name)}: ${literal(each)}`)
      .join(", ")}}`;
  }
  return JSON.stringify(value);
}
