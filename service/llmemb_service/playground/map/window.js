/** Which part of the plane is seen: places to pixels and back, moved and zoomed. */

const MOST_ZOOM = 400;
const MOST_FRAMED = 8;
const EDGE = 1.12;
const OUTLIERS = 0.002;

export class PlaneWindow {
  width = 1;
  height = 1;
  #home = { x: 0, y: 0, scale: 1 };

  constructor() {
    this.reset();
  }

  /** See all places but a few outliers. */
  fit(xs, ys) {
    const [left, right] = range(xs);
    const [bottom, top] = range(ys);
    const span = Math.max((right - left) / this.width, (top - bottom) / this.height) * EDGE || 1;
    this.#home = { x: (left + right) / 2, y: (bottom + top) / 2, scale: 1 / span };
    this.reset();
  }

  reset() {
    Object.assign(this, this.#home);
  }

  /** Pixels of a place. */
  pixels({ x, y }) {
    return { x: this.width / 2 + (x - this.x) * this.scale, y: this.height / 2 - (y - this.y) * this.scale };
  }

  /** The place at pixels. */
  placeAt(x, y) {
    return { x: this.x + (x - this.width / 2) / this.scale, y: this.y - (y - this.height / 2) / this.scale };
  }

  move(pixelsRight, pixelsDown) {
    this.x -= pixelsRight / this.scale;
    this.y += pixelsDown / this.scale;
  }

  /** Zoom, so that what is at these pixels stays there. */
  zoom(factor, x = this.width / 2, y = this.height / 2) {
    const before = this.placeAt(x, y);
    const scale = this.scale * factor;
    this.scale = Math.min(Math.max(scale, this.#home.scale / 4), this.#home.scale * MOST_ZOOM);
    const after = this.placeAt(x, y);
    this.x += before.x - after.x;
    this.y += before.y - after.y;
  }

  /** See these places, the first of them in the middle. */
  frame(places) {
    const [{ x, y }] = places;
    const scales = places.map((place) =>
      Math.min(this.width / Math.abs(place.x - x), this.height / Math.abs(place.y - y)),
    );
    const scale = Math.min(...scales, 2 * MOST_FRAMED * this.#home.scale) / 2 / EDGE;
    Object.assign(this, { x, y, scale: Math.max(scale, this.#home.scale / 2) });
  }

  get zoomed() {
    return this.scale / this.#home.scale;
  }

  /** Factor and summand that take places to the corners -1 to 1 of a drawing. */
  get transform() {
    const scale = [(2 * this.scale) / this.width, (2 * this.scale) / this.height];
    return { scale, shift: [-this.x * scale[0], -this.y * scale[1]] };
  }
}

function range(values) {
  if (!values.length) return [-1, 1];
  const sorted = Float64Array.from(values).sort();
  const edge = Math.floor(sorted.length * OUTLIERS);
  return [sorted[edge], sorted[sorted.length - 1 - edge]];
}
