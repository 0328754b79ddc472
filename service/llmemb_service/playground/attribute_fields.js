/** The form of a new item: one field for each attribute of the bundle. */

import { el } from "./dom.js";
import { nameAttribute } from "./session.js";

/** Return the form; `show` builds it for a bundle, `fill` and `read` set and return its values. */
export function attributeFields() {
  const root = el("form", {
    class: "fields",
    id: "attributes",
    "aria-label": "Attributes",
    onsubmit: (event) => event.preventDefault(),
  });
  const fields = new Map();
  let listed = new Set();

  function show(info) {
    const names = info.attribute_names;
    if (names.join() === [...fields.keys()].join()) return;
    listed = new Set([info.categories_attribute]);
    fields.clear();
    for (const name of names) fields.set(name, el("input", { type: "text", name, autocomplete: "off" }));
    root.replaceChildren(
      ...names.map((name) =>
        el("label", {}, name.replaceAll("_", " "), listed.has(name) ? hint() : null, fields.get(name)),
      ),
    );
  }

  return {
    root,
    show,
    fill(attributes, name) {
      for (const [attribute, field] of fields) {
        const value = attributes[attribute];
        if (Array.isArray(value)) listed.add(attribute);
        field.value = Array.isArray(value) ? value.join(", ") : (value ?? "");
        if (attribute === nameAttribute({ attributes })) field.value = `${name}: The Return`;
      }
    },
    read() {
      const filled = [...fields]
        .map(([name, field]) => [name, field.value.trim()])
        .filter(([, value]) => value);
      return Object.fromEntries(
        filled.map(([name, value]) => [name, listed.has(name) ? split(value) : value]),
      );
    },
  };
}

const hint = () => el("span", { class: "hint" }, " (comma-separated)");

const split = (value) =>
  value
    .split(",")
    .map((part) => part.trim())
    .filter(Boolean);
