/** Live metrics of the service, from `/metrics`, and the evaluation results of its bundle. */

import { el, number, svg } from "../dom.js";
import { metrics } from "../calls.js";
import { Problem, send } from "../http.js";
import { DURATION, Sample, quantile } from "../metrics_text.js";
import { about } from "../session.js";
import { evaluationTable, kindsBar, routesTable } from "../figure_tables.js";

const EVERY_MILLISECONDS = 2000;
const KEPT = 60;
/** Number of samples that latency and error rate cover, one minute: a single interval has too few requests. */
const SEEN = 30;

const TILES = {
  requests: {
    title: "Requests/s",
    of: (now, before) => rate(now, before, `${DURATION}_count`),
    digits: 1,
  },
  median: { title: "/recommend latency, p50", unit: "ms", of: latency(0.5), digits: 1 },
  slow: { title: "/recommend latency, p95", unit: "ms", of: latency(0.95), digits: 1 },
  queue: { title: "Embedding queue", of: (now) => now.sum("llmemb_queued_items"), digits: 0 },
  waiting: { title: "Ranking queue", of: (now) => now.sum("llmemb_queued_recommendations"), digits: 0 },
  cache: { title: "Cache hit rate", unit: "%", of: cacheHitRate, digits: 0 },
  errors: { title: "Error rate (4xx, 5xx)", unit: "%", of: errorRate, digits: 1 },
  coverage: {
    title: "Catalogue coverage",
    unit: "%",
    of: (now) => 100 * now.sum("llmemb_coverage", { bundle: about.value?.bundle_id ?? "" }),
    digits: 1,
  },
};

export function mount(root) {
  const ended = new AbortController();
  const samples = [];
  const histories = new Map(Object.keys(TILES).map((key) => [key, []]));
  const tiles = el("div", { class: "tiles" });
  const kinds = el("div", {});
  const routes = el("div", {
    class: "scroll",
    tabindex: "0",
    role: "region",
    "aria-label": "Requests by route",
  });
  const evaluation = el("div", {
    class: "scroll",
    tabindex: "0",
    role: "region",
    "aria-label": "Evaluation",
  });
  const note = el("p", { class: "empty" }, "Loading metrics.");
  root.append(
    el("h1", {}, "Metrics"),
    el(
      "p",
      { class: "lead" },
      "Of this replica, from /metrics, every two seconds. Latency and error rate cover the last minute.",
    ),
    note,
    tiles,
    el(
      "div",
      { class: "columns even more" },
      el("section", { class: "card" }, el("header", {}, el("h2", {}, "Recommended items by kind")), kinds),
      el("section", { class: "card" }, el("header", {}, el("h2", {}, "Requests by route")), routes),
      el("section", { class: "card" }, el("header", {}, el("h2", {}, "Evaluation of the bundle")), evaluation),
    ),
  );

  let unseen = false;
  async function look() {
    try {
      samples.push(new Sample(await send(metrics(), { signal: ended.signal, unseen })));
      unseen = true;
      if (samples.length > KEPT) samples.shift();
      draw();
    } catch (error) {
      if (ended.signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      const hidden = error.status === 404 || error.status === 401;
      note.textContent = hidden
        ? "/metrics is not available here. Use the gateway's operations port."
        : error.message;
      if (hidden) return;
    }
    timer = setTimeout(look, EVERY_MILLISECONDS);
  }
  let timer;
  look();

  function draw() {
    const now = samples.at(-1);
    const before = samples.at(-2);
    const earlier = samples.at(-Math.min(samples.length, SEEN));
    for (const [key, tile] of Object.entries(TILES)) {
      const history = histories.get(key);
      history.push(tile.of(now, before, earlier));
      if (history.length > KEPT) history.shift();
    }
    tiles.replaceChildren(...Object.entries(TILES).map(([key, tile]) => tileOf(tile, histories.get(key))));
    kinds.replaceChildren(kindsBar(now));
    routes.replaceChildren(routesTable(now));
    note.hidden = true;
  }

  const unwatch = about.watch((info) => info && evaluation.replaceChildren(evaluationTable(info)));
  return () => {
    ended.abort();
    clearTimeout(timer);
    unwatch();
  };
}

function tileOf({ title, unit, digits }, history) {
  const value = history.at(-1);
  const text =
    value === null || value === undefined ? "–" : `${number(value, digits)}${unit ? ` ${unit}` : ""}`;
  return el(
    "section",
    { class: "card tile" },
    el("h2", {}, title),
    el("p", { class: "number" }, text),
    line(history),
  );
}

function line(history) {
  const values = history.map((value) => value ?? 0);
  const top = Math.max(...values, 1e-9) * 1.1;
  const points = values.map(
    (value, place) =>
      `${(100 * place) / Math.max(1, values.length - 1)},${(30 - (28 * value) / top).toFixed(2)}`,
  );
  return svg(
    "svg",
    { viewBox: "0 0 100 30", preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("polygon", { class: "under", points: `0,30 ${points.join(" ")} 100,30` }),
    svg("polyline", { class: "line", points: points.join(" ") }),
  );
}

function rate(now, before, name) {
  return before ? Math.max(0, now.sum(name) - before.sum(name)) / (now.at - before.at) : null;
}

function latency(share) {
  return (now, before, earlier) => {
    // Only successful requests: rejected ones return at once and would hide slow ones.
    const answered = { http_route: "/recommend", http_response_status_code: "200" };
    const lately = earlier === now ? null : quantile(earlier, now, DURATION, share, answered);
    const seconds = lately ?? quantile(null, now, DURATION, share, answered);
    return seconds === null ? null : 1000 * seconds;
  };
}

function errorRate(now, before, earlier) {
  const failed = (sample) =>
    [...sample.by(`${DURATION}_count`, "http_response_status_code")]
      .filter(([status]) => /^[45]/.test(status))
      .reduce((sum, [, count]) => sum + count, 0);
  const requests = now.sum(`${DURATION}_count`) - earlier.sum(`${DURATION}_count`);
  return requests > 0 ? (100 * (failed(now) - failed(earlier))) / requests : null;
}

function cacheHitRate(now) {
  const all = now.sum("llmemb_cache_lookups_total");
  return all ? (100 * now.sum("llmemb_cache_lookups_total", { result: "hit" })) / all : null;
}
