/** Points drawn into an image, pixel by pixel: 100,000 of them take milliseconds, with a graphics card or without. */

const FULL = 256;

export class Points {
  #places = new Float32Array();
  #colours = new Uint8Array();
  #image = null;

  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
  }

  /** Take places, `x` and `y` after one another. */
  setPlaces(values) {
    this.#places = values;
  }

  /** Take colours, `rgba` after one another. */
  setColours(bytes) {
    this.#colours = bytes;
  }

  /**
   * Draw all points.
   *
   * @param scale, shift what takes places to the corners -1 to 1 of the canvas.
   * @param size in pixels of the canvas.
   * @param back the colour behind them, `[r, g, b]`.
   */
  draw({ scale, shift, size, opacity, back }) {
    const { width, height } = this.canvas;
    if (!width || !height) return;
    if (this.#image?.width !== width || this.#image?.height !== height) {
      this.#image = new ImageData(width, height);
    }
    const pixels = this.#image.data;
    pixels.set([...back, 255]);
    new Uint32Array(pixels.buffer).fill(new Uint32Array(pixels.buffer, 0, 1)[0]);
    const stamp = stampOf(size, opacity);
    const [places, colours, half] = [this.#places, this.#colours, (stamp.side - 1) / 2];
    for (let number = 0; number < places.length / 2; number += 1) {
      const x = 0.5 + 0.5 * (places[2 * number] * scale[0] + shift[0]);
      const y = 0.5 - 0.5 * (places[2 * number + 1] * scale[1] + shift[1]);
      const left = Math.round(x * width - 0.5) - half;
      const top = Math.round(y * height - 0.5) - half;
      // A point that is cut by the edge is left out.
      if (left < 0 || top < 0 || left + stamp.side > width || top + stamp.side > height) continue;
      press(stamp, pixels, 4 * (top * width + left), 4 * width, colours, 4 * number);
    }
    this.context.putImageData(this.#image, 0, 0);
  }
}

/** A disc as the pixels that it covers: their offsets, and how far they are covered. */
function stampOf(size, opacity) {
  const side = 2 * Math.ceil((size - 1) / 2) + 1;
  const middle = (side - 1) / 2;
  const [columns, rows, cover] = [[], [], []];
  for (let row = 0; row < side; row += 1) {
    for (let column = 0; column < side; column += 1) {
      const far = Math.hypot(row - middle, column - middle);
      const covered = Math.min(1, Math.max(0, size / 2 + 0.5 - far));
      if (covered > 0) {
        columns.push(column);
        rows.push(row);
        cover.push(Math.round(FULL * opacity * covered));
      }
    }
  }
  return { side, columns, rows, cover };
}

function press(stamp, pixels, start, line, colours, colour) {
  const { columns, rows, cover } = stamp;
  for (let each = 0; each < cover.length; each += 1) {
    const at = start + line * rows[each] + 4 * columns[each];
    for (let channel = 0; channel < 3; channel += 1) {
      const before = pixels[at + channel];
      pixels[at + channel] = before + (((colours[colour + channel] - before) * cover[each]) >> 8);
    }
  }
}
