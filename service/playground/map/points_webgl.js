/** Points drawn by WebGL: any number of them moves smoothly. */

const VERTEX = `
attribute vec2 place;
attribute vec4 colour;
uniform vec2 scale, shift;
uniform float size;
varying vec4 shade;
void main() {
  gl_Position = vec4(place * scale + shift, 0.0, 1.0);
  gl_PointSize = size;
  shade = colour;
}`;
const FRAGMENT = `
precision mediump float;
varying vec4 shade;
uniform float opacity;
void main() {
  float far = length(gl_PointCoord - 0.5);
  if (far > 0.5) discard;
  float alpha = opacity * (1.0 - smoothstep(0.4, 0.5, far));
  gl_FragColor = vec4(shade.rgb * alpha, alpha);
}`;

/** Return what draws points into a canvas, null where there is no WebGL. */
export function webglPoints(canvas) {
  const gl = canvas.getContext("webgl", { antialias: false, premultipliedAlpha: true });
  if (!gl) return null;
  const program = linked(gl);
  const uniform = (name) => gl.getUniformLocation(program, name);
  const uniforms = {
    scale: uniform("scale"),
    shift: uniform("shift"),
    size: uniform("size"),
    opacity: uniform("opacity"),
  };
  const places = attribute(gl, program, "place", 2, gl.FLOAT, false);
  const colours = attribute(gl, program, "colour", 4, gl.UNSIGNED_BYTE, true);
  gl.enable(gl.BLEND);
  gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
  let count = 0;
  return {
    setPlaces(values) {
      count = values.length / 2;
      places(values);
    },
    setColours: colours,
    draw({ scale, shift, size, opacity }) {
      gl.viewport(0, 0, canvas.width, canvas.height);
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
      gl.uniform2f(uniforms.scale, ...scale);
      gl.uniform2f(uniforms.shift, ...shift);
      gl.uniform1f(uniforms.size, size);
      gl.uniform1f(uniforms.opacity, opacity);
      gl.drawArrays(gl.POINTS, 0, count);
    },
    close: () => gl.getExtension("WEBGL_lose_context")?.loseContext(),
  };
}

function linked(gl) {
  const program = gl.createProgram();
  for (const [kind, source] of [
    [gl.VERTEX_SHADER, VERTEX],
    [gl.FRAGMENT_SHADER, FRAGMENT],
  ]) {
    const shader = gl.createShader(kind);
    gl.shaderSource(shader, source);
    gl.compileShader(shader);
    gl.attachShader(program, shader);
  }
  gl.linkProgram(program);
  gl.useProgram(program);
  return program;
}

/** Return what fills an attribute's buffer. */
function attribute(gl, program, name, size, type, normalised) {
  const buffer = gl.createBuffer();
  const place = gl.getAttribLocation(program, name);
  gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
  gl.enableVertexAttribArray(place);
  gl.vertexAttribPointer(place, size, type, normalised, 0, 0);
  return (values) => {
    gl.bindBuffer(gl.ARRAY_BUFFER, buffer);
    gl.bufferData(gl.ARRAY_BUFFER, values, gl.STATIC_DRAW);
  };
}
