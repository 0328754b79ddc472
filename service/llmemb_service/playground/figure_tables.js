/** Tables and bars of the metrics view. */

import { el, number, svg } from "./dom.js";
import { DURATION, quantile } from "./metrics_text.js";

const KINDS = {
  head: ["head", "the 20 % of items with the most clicks in training", "var(--accent)"],
  tail: ["tail", "the other items with clicks in training", "var(--lit)"],
  cold: ["cold", "items without clicks in training", "var(--click)"],
  added: ["added", "items added after training", "var(--added)"],
  fallback: ["popular", "popular items, recommended without a session or by request", "var(--muted)"],
};

/** The share of each kind of items among the recommendations. */
export function kindsBar(sample) {
  const counts = sample.by("llmemb_recommended_items_total", "kind");
  const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
  if (!total) return el("p", { class: "empty" }, "No recommendations yet.");
  let left = 0;
  const parts = Object.entries(KINDS).map(([kind, [, , colour]]) => {
    const width = (100 * (counts.get(kind) ?? 0)) / total;
    left += width;
    return svg("rect", { x: left - width, y: 0, width, height: 10, fill: colour });
  });
  const rows = Object.entries(KINDS).map(([kind, [name, meaning, colour]]) => [
    el("span", { title: meaning }, dot(colour), ` ${name}`),
    number(counts.get(kind) ?? 0, 0),
    `${number((100 * (counts.get(kind) ?? 0)) / total, 1)} %`,
  ]);
  return el(
    "div",
    {},
    el(
      "div",
      { class: "bar" },
      svg("svg", { viewBox: "0 0 100 10", preserveAspectRatio: "none", "aria-hidden": "true" }, ...parts),
    ),
    table(["kind", "items", "share"], rows),
  );
}

export function routesTable(sample) {
  const counts = [...sample.by(`${DURATION}_count`, "http_route")].filter(([, count]) => count);
  const rows = counts
    .sort((one, other) => other[1] - one[1])
    .map(([route, count]) => {
      const median = quantile(null, sample, DURATION, 0.5, { http_route: route });
      return [route, number(count, 0), median === null ? "–" : `${number(1000 * median, 1)} ms`];
    });
  return table(["route", "requests", "p50"], rows);
}

/** One row for each model and group of test targets, one column for each metric. */
export function evaluationTable(info) {
  if (!info.metrics.length) return el("p", { class: "empty" }, "The bundle has no evaluation results.");
  const names = [...new Set(info.metrics.map((metric) => metric.name))].filter(
    (name) => !/@(5|20)$/.test(name),
  );
  const keys = [...new Set(info.metrics.map((metric) => `${metric.model} ${metric.group}`))];
  const rows = keys.map((key) => [
    key,
    ...names.map((name) => {
      const found = info.metrics.find(
        (metric) => `${metric.model} ${metric.group}` === key && metric.name === name,
      );
      return found ? number(found.value, 4) : "–";
    }),
  ]);
  return table(["model and group", ...names], rows);
}

const dot = (colour) =>
  svg(
    "svg",
    { viewBox: "0 0 10 10", width: 10, height: 10, "aria-hidden": "true" },
    svg("circle", { cx: 5, cy: 5, r: 5, fill: colour }),
  );

function table(heads, rows) {
  const head = el("tr", {}, ...heads.map((text) => el("th", { scope: "col" }, text)));
  const body = rows.map(([first, ...rest]) =>
    el("tr", {}, el("th", { scope: "row" }, first), ...rest.map((cell) => el("td", {}, cell))),
  );
  return el("table", {}, el("thead", {}, head), el("tbody", {}, ...body));
}
