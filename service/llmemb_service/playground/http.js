/** Sends API requests, retries them while the service is unavailable, and tracks its status. */

import { Watched } from "./dom.js";
import { ready } from "./calls.js";
import { target } from "./python.js";

const KEY = "llmemb-api-key";
const FIRST_WAIT_SECONDS = 0.5;
const LONGEST_WAIT_SECONDS = 5;
const LOOK_SECONDS = 5;
const LOOK_AGAIN_SECONDS = 1;
const AGAIN = new Set([429, 502, 503, 504]);

/** Status: `ready`, `degraded`, `busy`, `unready`, `away`, `key` or `connecting`; and the reason. */
export const connection = new Watched({ state: "connecting", why: "" });
/** Id of the bundle that answered the last request. */
export const bundleId = new Watched(null);
/** Recent requests, the newest first, without readiness checks and other background requests. */
export const sent = new Watched([]);
const REMEMBERED = 30;
/** Number of requests that wait to be retried. */
let waiting = 0;

/** An error answer (RFC 9457). */
export class Problem extends Error {
  constructor(status, body) {
    super(body?.detail ?? `the service answered ${status}`);
    this.status = status;
    this.code = body?.code ?? "";
    this.faults = (body?.errors ?? []).map((fault) => `${fault.loc.slice(1).join(".")}: ${fault.msg}`);
  }
}

export const apiKey = {
  get: () => sessionStorage.getItem(KEY),
  set(value) {
    if (value) sessionStorage.setItem(KEY, value);
    else sessionStorage.removeItem(KEY);
  },
};

/**
 * Send a request and return its answer; retry it while the service is unavailable, until `signal` aborts it.
 *
 * @throws {Problem} the service rejects the request, or is unavailable and `patient` is false.
 * @throws {DOMException} `signal` aborted it.
 */
export async function send(call, { signal, unseen = false, patient = true } = {}) {
  const entry = { call, status: null, milliseconds: null };
  if (!unseen) sent.set([entry, ...sent.value].slice(0, REMEMBERED));
  for (let wait = FIRST_WAIT_SECONDS; ; wait = Math.min(2 * wait, LONGEST_WAIT_SECONDS)) {
    const started = performance.now();
    const response = await attempt(call, signal);
    if (response) {
      entry.status = response.status;
      entry.milliseconds = performance.now() - started;
      if (!unseen) sent.set(sent.value);
    }
    if (response && !AGAIN.has(response.status)) return read(call, response);
    const seconds = Number(response?.headers.get("Retry-After")) || wait;
    const problem = response && (await problemOf(response));
    tellTrouble(response?.status, problem?.message ?? "", seconds);
    if (!patient) throw problem ?? new Problem(0, { detail: "the service cannot be reached" });
    waiting += 1;
    try {
      await pause(seconds, signal);
    } finally {
      waiting -= 1;
    }
  }
}

async function attempt(call, signal) {
  const headers = {};
  if (apiKey.get()) headers.Authorization = `Bearer ${apiKey.get()}`;
  if (call.body) headers["Content-Type"] = "application/json";
  const body = call.body && JSON.stringify(call.body);
  try {
    return await fetch(target(call), { method: call.method, headers, body, signal });
  } catch (error) {
    if (signal?.aborted) throw error;
    return null;
  }
}

async function read(call, response) {
  if (!response.ok) {
    const problem = await problemOf(response);
    if (problem.status === 401) connection.set({ state: "key", why: problem.message });
    throw problem;
  }
  if (["busy", "unready", "away", "key", "connecting"].includes(connection.value.state))
    connection.set({ state: "ready", why: "" });
  if (response.status === 204) return null;
  if (call.text) return response.text();
  const answer = await response.json();
  if (typeof answer.bundle_id === "string" && !call.body?.bundle_id && answer.bundle_id !== bundleId.value) {
    bundleId.set(answer.bundle_id);
  }
  return answer;
}

async function problemOf(response) {
  const body = await response.json().catch(() => null);
  return new Problem(response.status, body);
}

function tellTrouble(status, why, seconds) {
  const answered = status === 429 ? "busy" : "unready";
  connection.set({ state: status ? answered : "away", why, seconds });
}

/** Wait; rejects when `signal` aborts. */
function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const done = (settle) => () => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
      settle();
    };
    const aborted = done(() => reject(signal.reason));
    const timer = setTimeout(done(resolve), 1000 * seconds);
    signal?.addEventListener("abort", aborted);
  });
}

/** Poll readiness while the page is visible, more often while the service is not ready. */
export async function keepLooking() {
  for (;;) {
    if (!document.hidden) await look();
    const well = ["ready", "degraded", "key"].includes(connection.value.state);
    await pause(well ? LOOK_SECONDS : LOOK_AGAIN_SECONDS);
  }
}

async function look() {
  try {
    const answer = await send(ready(), { unseen: true, patient: false });
    // A ready service may still reject the waiting requests: their own answers end `busy` and `unready`.
    if (waiting || connection.value.state === "key") return;
    const failing = Object.entries(answer.checks).filter(([, check]) => check !== "ok");
    const why = failing.map(([part, check]) => `${part}: ${check}`).join("; ");
    const state = failing.length ? "degraded" : "ready";
    if (connection.value.state !== state || connection.value.why !== why) connection.set({ state, why });
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
  }
}
