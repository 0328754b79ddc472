/** What is lit up over the points: the session's path, what comes next, and an invented item. */

const LABEL = "600 13px system-ui, sans-serif";
const MOST_LABELS = 14;
const MOST_CHARACTERS = 28;
/** Pixels at the right, where the buttons are. */
const BUTTONS = 52;

/**
 * @param context of a canvas of the window's size.
 * @param window where places are.
 * @param lit `{path, next, star, near}`: places with a `name`; `star` may be null.
 * @param colours `{click, lit, accent, ink, back}`.
 */
export function drawOverlay(context, window, lit, colours) {
  context.clearRect(0, 0, window.width, window.height);
  const labels = new Labels(context, window, colours);
  for (const place of lit.near) ring(context, window.pixels(place), 6, colours.ink, 1.25);
  path(
    context,
    lit.path.map((place) => window.pixels(place)),
    colours.click,
  );
  lit.next.forEach((place, rank) => {
    const at = window.pixels(place);
    ring(context, at, 8, colours.lit, 2.5);
    number(context, at, rank + 1, colours.lit, colours.back);
  });
  lit.path.forEach((place, step) =>
    disc(context, window.pixels(place), step + 1, colours.click, colours.back),
  );
  if (lit.star) star(context, window.pixels(lit.star), colours);
  for (const place of lit.star ? [lit.star] : []) labels.put(place);
  for (const place of [...lit.path, ...lit.next, ...lit.near].slice(0, MOST_LABELS)) labels.put(place);
}

function path(context, points, colour) {
  if (points.length < 2) return;
  context.strokeStyle = colour;
  context.lineWidth = 2;
  context.lineJoin = "round";
  context.beginPath();
  for (const { x, y } of points) context.lineTo(x, y);
  context.stroke();
}

function ring(context, { x, y }, radius, colour, width) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.stroke();
}

function disc(context, { x, y }, text, fill, ink) {
  context.fillStyle = fill;
  context.beginPath();
  context.arc(x, y, 9, 0, 2 * Math.PI);
  context.fill();
  centred(context, { x, y }, text, ink);
}

function number(context, { x, y }, text, fill, ink) {
  context.fillStyle = fill;
  context.beginPath();
  context.arc(x + 10, y - 10, 8, 0, 2 * Math.PI);
  context.fill();
  centred(context, { x: x + 10, y: y - 10 }, text, ink);
}

function centred(context, { x, y }, text, ink) {
  context.font = "700 11px system-ui, sans-serif";
  context.fillStyle = ink;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(String(text), x, y + 0.5);
}

function star(context, { x, y }, colours) {
  context.beginPath();
  for (let corner = 0; corner < 10; corner += 1) {
    const radius = corner % 2 ? 6 : 14;
    const angle = -Math.PI / 2 + (corner * Math.PI) / 5;
    context.lineTo(x + radius * Math.cos(angle), y + radius * Math.sin(angle));
  }
  context.closePath();
  context.fillStyle = colours.accent;
  context.fill();
  context.lineWidth = 2;
  context.strokeStyle = colours.back;
  context.stroke();
}

/** Names beside places, as far as they do not cover one another. */
class Labels {
  #taken = [];

  constructor(context, window, colours) {
    Object.assign(this, { context, window, colours });
  }

  put(place) {
    const { context, window, colours } = this;
    const { x, y } = window.pixels(place);
    const name =
      place.name.length > MOST_CHARACTERS ? `${place.name.slice(0, MOST_CHARACTERS - 1)}…` : place.name;
    context.font = LABEL;
    context.textAlign = "left";
    context.textBaseline = "middle";
    const width = context.measureText(name).width;
    const right = x + 18 + width < window.width - BUTTONS;
    const left = right ? x + 18 : Math.max(4, x - 18 - width);
    const box = { left, right: left + width, top: y - 9, bottom: y + 9 };
    const hidden = x < 0 || y < 0 || x > window.width || y > window.height;
    if (hidden || this.#taken.some((other) => cover(box, other))) return;
    this.#taken.push(box);
    context.lineWidth = 4;
    context.lineJoin = "round";
    context.strokeStyle = colours.back;
    context.strokeText(name, left, y);
    context.fillStyle = colours.ink;
    context.fillText(name, left, y);
  }
}

const cover = (one, other) =>
  one.left < other.right && other.left < one.right && one.top < other.bottom && other.top < one.bottom;
