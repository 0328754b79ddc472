/** API requests as data: what is sent, and the equivalent call of `llmemb.client`. */

import { Raw, pythonCall } from "./python.js";

const path = (...parts) => `/${parts.map(encodeURIComponent).join("/")}`;

export const info = () => ({ method: "GET", path: "/info", python: pythonCall("info") });

export const ready = () => ({ method: "GET", path: "/readyz", python: pythonCall("ready") });

export const metrics = () => ({ method: "GET", path: "/metrics", text: true, python: pythonCall("metrics") });

export const map = () => ({ method: "GET", path: "/map", python: pythonCall("item_map") });

export const bundles = () => ({ method: "GET", path: "/admin/bundles", python: pythonCall("bundles") });

export const item = (id) => ({
  method: "GET",
  path: path("items", id),
  python: pythonCall("get_item", [id]),
});

export const search = (query, limit, cursor) => ({
  method: "GET",
  path: "/items",
  query: { query, limit, cursor },
  python: pythonCall("item_page", [], { query, limit, cursor }),
});

export const similar = (id, k) => ({
  method: "GET",
  path: path("items", id, "similar"),
  query: { k },
  python: pythonCall("similar_items", [id], { k }),
});

export const recommend = (history, options = {}) => {
  const inline = history.some((entry) => entry.attributes);
  const names = [...(options.filters ? ["Filters"] : []), ...(inline ? ["HistoryItem"] : [])];
  return {
    method: "POST",
    path: "/recommend",
    body: { history, ...options },
    python: pythonCall(
      "recommend",
      [history.map((entry) => (entry.attributes ? new Raw("HistoryItem", entry) : entry))],
      { ...options, filters: options.filters && new Raw("Filters", options.filters) },
      names.length ? [`from llmemb.api.recommend import ${names.join(", ")}`] : [],
    ),
  };
};

export const recommendBatch = (requests) => ({
  method: "POST",
  path: "/recommend/batch",
  body: { requests },
  python: pythonCall(
    "recommend_batch",
    [requests.map((request) => new Raw("RecommendRequest", request))],
    {},
    ["from llmemb.api.recommend import RecommendRequest"],
  ),
});

export const embed = (id, attributes) => ({
  method: "POST",
  path: "/embed_items",
  body: { items: [{ id, attributes }] },
  python: pythonCall("embed_items", [[new Raw("ItemBody", { id, attributes })]], {}, [
    "from llmemb.api.items import ItemBody",
  ]),
});

export const put = (id, attributes) => ({
  method: "PUT",
  path: path("items", id),
  body: { attributes },
  python: pythonCall("put_item", [id, attributes]),
});

export const remove = (id) => ({
  method: "DELETE",
  path: path("items", id),
  python: pythonCall("delete_item", [id]),
});
