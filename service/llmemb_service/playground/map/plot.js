/** A map that one moves and zooms: points, what is lit up over them, and the item under the pointer. */

import { el } from "../dom.js";
import { themeChanges } from "../theme.js";
import { PointGrid } from "./grid.js";
import { drawOverlay } from "./overlay.js";
import { pointColours } from "./palette.js";
import { Points } from "./points.js";
import { PlaneWindow } from "./window.js";

const REACH_PIXELS = 12;
const MOVE_PIXELS = 60;
const ZOOM = 1.4;
const NOTHING = { path: [], next: [], star: null, near: [] };

export class Plot {
  #window = new PlaneWindow();
  #lit = NOTHING;
  #drawn = null;
  #colouredBy = "category";
  #asked = 0;
  #pointers = new Map();
  #colours = {};
  #back = [255, 255, 255];

  /**
   * @param small whether it shares its view.
   * @param nameOf a promise of the name of the item with an id.
   * @param onpick called with the id of an item that is clicked.
   */
  constructor({ small = false, nameOf, onpick }) {
    const back = el("canvas", { "aria-hidden": "true" });
    this.over = el("canvas", { class: "over", tabindex: "0", role: "img" });
    this.tip = el("div", { class: "tip", hidden: true });
    const button = (text, label, work) =>
      el("button", { type: "button", class: "plain", "aria-label": label, onclick: work }, text);
    this.root = el(
      "div",
      { class: `plot ${small ? "small" : ""}` },
      back,
      this.over,
      this.tip,
      el(
        "div",
        { class: "zoom" },
        button("+", "Zoom in", () => this.#zoomed(ZOOM)),
        button("−", "Zoom out", () => this.#zoomed(1 / ZOOM)),
        button("⌂", "Reset the view", () => this.#reset()),
      ),
    );
    this.nameOf = nameOf;
    this.onpick = onpick;
    this.back = back;
    this.points = new Points(back);
    this.context = this.over.getContext("2d");
    this.#listen();
    this.resizing = new ResizeObserver(() => this.#resize());
    this.resizing.observe(this.root);
    this.unwatch = themeChanges.watch(() => this.#recolour());
    this.describe();
  }

  close() {
    this.resizing.disconnect();
    this.unwatch();
    cancelAnimationFrame(this.#asked);
  }

  /** Show a catalogue's map. */
  show(drawn) {
    this.#drawn = drawn;
    const places = new Float32Array(2 * drawn.ids.length);
    drawn.ids.forEach((_, number) => places.set([drawn.x[number], drawn.y[number]], 2 * number));
    this.points.setPlaces(places);
    this.grid = new PointGrid(drawn.x, drawn.y);
    this.#window.fit(drawn.x, drawn.y);
    this.#recolour();
    this.root.dataset.points = drawn.ids.length;
    this.describe();
  }

  colourBy(what) {
    this.#colouredBy = what;
    this.#recolour();
  }

  /** Light places up; see `drawOverlay`. */
  light(lit) {
    this.#lit = { ...NOTHING, ...lit };
    this.root.dataset.path = this.#lit.path.map((place) => place.id).join(" ");
    this.root.dataset.next = this.#lit.next.map((place) => place.id).join(" ");
    this.describe();
    this.#ask();
  }

  /** Move to where these places are seen, the first of them in the middle. */
  frame(places) {
    this.#window.frame(places);
    this.#ask();
  }

  describe() {
    const count = this.#drawn ? this.#drawn.ids.length.toLocaleString("en") : "no";
    const { path, next, star } = this.#lit;
    const lit = [
      path.length ? `session: ${path.map((place) => place.name).join(", ")}` : "",
      next.length ? `recommendations: ${next.map((place) => place.name).join(", ")}` : "",
      star ? `new item: ${star.name}` : "",
    ].filter(Boolean);
    const shown = lit.length ? `Highlighted: ${lit.join("; ")}. ` : "";
    const text = `Map of ${count} items. ${shown}Arrow keys move, plus and minus zoom.`;
    this.over.setAttribute("aria-label", text);
  }

  #recolour() {
    if (!this.#drawn) return;
    this.#colours = overlayColours(this.root);
    const { backgroundColor } = getComputedStyle(this.root);
    this.#back = backgroundColor.match(/\d+/g).slice(0, 3).map(Number);
    this.points.setColours(pointColours(this.#drawn, this.#colouredBy));
    this.#ask();
  }

  #resize() {
    const { clientWidth, clientHeight } = this.root;
    const ratio = devicePixelRatio;
    for (const canvas of [this.back, this.over]) {
      canvas.width = Math.round(clientWidth * ratio);
      canvas.height = Math.round(clientHeight * ratio);
    }
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const first = this.#window.width === 1;
    Object.assign(this.#window, { width: clientWidth, height: clientHeight });
    if (first && this.#drawn) this.#window.fit(this.#drawn.x, this.#drawn.y);
    this.#ask();
  }

  #ask() {
    if (!this.#asked) this.#asked = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#asked = 0;
    if (!this.#drawn) return;
    const dense = Math.sqrt(this.#drawn.ids.length / 1500);
    const size = Math.min(Math.max((7 * Math.sqrt(this.#window.zoomed)) / Math.max(1, dense), 1), 10);
    this.points.draw({
      ...this.#window.transform,
      size: size * devicePixelRatio,
      opacity: 0.8,
      back: this.#back,
    });
    drawOverlay(this.context, this.#window, this.#lit, this.#colours);
  }

  #zoomed(factor, x, y) {
    this.#window.zoom(factor, x, y);
    this.#ask();
  }

  #reset() {
    this.#window.reset();
    this.#ask();
  }

  #listen() {
    const { over } = this;
    over.addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        this.#zoomed(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
      },
      { passive: false },
    );
    over.addEventListener("pointerdown", (event) => {
      over.setPointerCapture(event.pointerId);
      this.#pointers.set(event.pointerId, { x: event.offsetX, y: event.offsetY, far: 0 });
    });
    over.addEventListener("pointermove", (event) => this.#moved(event));
    over.addEventListener("pointerup", (event) => {
      const pointer = this.#pointers.get(event.pointerId);
      this.#pointers.delete(event.pointerId);
      if (pointer && pointer.far < 5) this.#picked(event);
    });
    over.addEventListener("pointercancel", (event) => this.#pointers.delete(event.pointerId));
    over.addEventListener("pointerleave", () => {
      this.tip.hidden = true;
    });
    over.addEventListener("keydown", (event) => this.#key(event));
  }

  #moved(event) {
    const pointer = this.#pointers.get(event.pointerId);
    if (!pointer) {
      this.#hover(event);
      return;
    }
    const [right, down] = [event.offsetX - pointer.x, event.offsetY - pointer.y];
    if (this.#pointers.size === 2) this.#pinched(event, pointer);
    else this.#window.move(right, down);
    Object.assign(pointer, {
      x: event.offsetX,
      y: event.offsetY,
      far: pointer.far + Math.hypot(right, down),
    });
    this.#ask();
  }

  #pinched(event, pointer) {
    const other = [...this.#pointers.values()].find((each) => each !== pointer);
    const before = Math.hypot(pointer.x - other.x, pointer.y - other.y) || 1;
    const after = Math.hypot(event.offsetX - other.x, event.offsetY - other.y);
    this.#window.zoom(after / before, other.x, other.y);
  }

  #under(event) {
    if (!this.#drawn) return null;
    const place = this.#window.placeAt(event.offsetX, event.offsetY);
    const number = this.grid.nearest(place, REACH_PIXELS / this.#window.scale);
    return number < 0 ? null : this.#drawn.ids[number];
  }

  async #hover(event) {
    const id = this.#under(event);
    this.hovered = id;
    this.over.title = "";
    if (id === null) {
      this.tip.hidden = true;
      return;
    }
    const name = await this.nameOf(id);
    if (this.hovered !== id || name === null) return;
    this.tip.textContent = name;
    this.tip.hidden = false;
    const left = Math.min(event.offsetX + 14, this.root.clientWidth - this.tip.offsetWidth - 4);
    this.tip.style.left = `${Math.max(4, left)}px`;
    this.tip.style.top = `${Math.max(4, event.offsetY - this.tip.offsetHeight - 8)}px`;
  }

  #picked(event) {
    const id = this.#under(event);
    if (id !== null) this.onpick?.(id);
  }

  #key(event) {
    const moves = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
    const move = moves[event.key];
    if (move) this.#window.move(MOVE_PIXELS * move[0], MOVE_PIXELS * move[1]);
    else if (event.key === "+" || event.key === "=") this.#window.zoom(ZOOM);
    else if (event.key === "-") this.#window.zoom(1 / ZOOM);
    else if (event.key === "0" || event.key === "Home") this.#window.reset();
    else return;
    event.preventDefault();
    this.#ask();
  }
}

/** The page's colours as a canvas takes them: `light-dark()` is for style sheets alone. */
function overlayColours(root) {
  const probe = root.appendChild(el("span", { hidden: true }));
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => {
    probe.style.color = style.getPropertyValue(name);
    return getComputedStyle(probe).color;
  };
  const colours = {
    click: colour("--click"),
    lit: colour("--lit"),
    accent: colour("--accent"),
    ink: colour("--ink"),
    back: colour("--surface"),
  };
  probe.remove();
  return colours;
}
