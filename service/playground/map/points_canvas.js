/** Points drawn on a plain canvas, where there is no WebGL. */

export function canvasPoints(canvas) {
  const context = canvas.getContext("2d");
  let places = new Float32Array();
  let groups = [];
  return {
    setPlaces(values) {
      places = values;
    },
    setColours(bytes) {
      groups = byColour(bytes);
    },
    draw({ scale, shift, size, opacity }) {
      const { width, height } = canvas;
      context.clearRect(0, 0, width, height);
      context.globalAlpha = opacity;
      for (const [colour, numbers] of groups) {
        context.fillStyle = colour;
        for (const number of numbers) {
          const x = (0.5 + 0.5 * (places[2 * number] * scale[0] + shift[0])) * width;
          const y = (0.5 - 0.5 * (places[2 * number + 1] * scale[1] + shift[1])) * height;
          if (x >= 0 && y >= 0 && x <= width && y <= height)
            context.fillRect(x - size / 2, y - size / 2, size, size);
        }
      }
    },
    close() {},
  };
}

/** Points of one colour together: a change of colour costs more than a point. */
function byColour(bytes) {
  const groups = new Map();
  for (let number = 0; number < bytes.length / 4; number += 1) {
    const colour = `rgb(${bytes[4 * number]} ${bytes[4 * number + 1]} ${bytes[4 * number + 2]})`;
    if (!groups.has(colour)) groups.set(colour, []);
    groups.get(colour).push(number);
  }
  return [...groups];
}
