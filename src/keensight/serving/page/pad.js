// The drawing pad. Strokes are kept as points, so that the picture of them can be drawn as the data's pictures are:
// light on dark, centred, of one size, with one width of line.

import { $ } from "./dom.js";

const SIDE_PX = 224;
const DARK = "#000";
const LIGHT = "#fff";

// How the digits that models learn from are drawn, as fractions of the side: MNIST leaves a margin, 8x8 pictures none.
const STYLES = [
  { upTo: 16, box: 1, line: 0.17 },
  { upTo: Infinity, box: 0.66, line: 0.085 },
];

export class Pad {
  constructor(onstroke) {
    this.canvas = $("canvas");
    this.context = this.canvas.getContext("2d");
    this.strokes = [];
    this.onstroke = onstroke;
    this.pointer = null;
    this.canvas.addEventListener("pointerdown", (event) => this.down(event));
    this.canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) this.canvas.addEventListener(end, (event) => this.up(event));
    $("pad-undo").addEventListener("click", () => this.change(this.strokes.slice(0, -1)));
    $("pad-clear").addEventListener("click", () => this.change([]));
    this.redraw();
  }

  get isEmpty() {
    return this.strokes.length === 0;
  }

  get isDrawing() {
    return this.pointer !== null;
  }

  // Resolves to a PNG file for a model whose pictures are `height` pixels high.
  picture(height) {
    const { box, line } = STYLES.find((style) => height <= style.upTo);
    const points = this.strokes.flat();
    const [left, right] = extent(points.map(([x]) => x));
    const [top, bottom] = extent(points.map(([, y]) => y));
    const side = SIDE_PX * (box - line);
    const scale = Math.min(side / Math.max(right - left, bottom - top, 1e-6), SIDE_PX * 8);
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = SIDE_PX;
    const place = ([x, y]) => [
      SIDE_PX / 2 + (x - (left + right) / 2) * scale,
      SIDE_PX / 2 + (y - (top + bottom) / 2) * scale,
    ];
    paint(canvas.getContext("2d"), this.strokes, place, SIDE_PX * line);
    return new Promise((resolve) =>
      canvas.toBlob((blob) => resolve(new File([blob], "drawing.png", { type: "image/png" })), "image/png"),
    );
  }

  down(event) {
    if (this.pointer !== null || event.button !== 0) return;
    this.pointer = event.pointerId;
    this.canvas.setPointerCapture(event.pointerId);
    this.strokes.push([this.where(event)]);
    this.redraw();
    event.preventDefault();
  }

  move(event) {
    if (event.pointerId !== this.pointer) return;
    const seen = event.getCoalescedEvents?.() ?? [];
    this.strokes.at(-1).push(...(seen.length ? seen : [event]).map((each) => this.where(each)));
    this.redraw();
  }

  up(event) {
    if (event.pointerId !== this.pointer) return;
    this.pointer = null;
    this.change(this.strokes);
  }

  change(strokes) {
    this.strokes = strokes;
    this.redraw();
    this.onstroke();
  }

  where(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  }

  redraw() {
    const side = this.canvas.width;
    paint(this.context, this.strokes, ([x, y]) => [x * side, y * side], side * 0.07);
    if (this.isEmpty) {
      Object.assign(this.context, { fillStyle: "#999", font: `${side * 0.06}px system-ui, sans-serif`, textAlign: "center" });
      this.context.fillText("Draw here", side / 2, side / 2);
    }
    $("pad-undo").disabled = $("pad-clear").disabled = this.isEmpty;
  }
}

const extent = (values) => [Math.min(...values), Math.max(...values)];

function paint(context, strokes, place, width) {
  context.fillStyle = DARK;
  context.fillRect(0, 0, context.canvas.width, context.canvas.height);
  Object.assign(context, { strokeStyle: LIGHT, lineWidth: width, lineCap: "round", lineJoin: "round" });
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(...place(stroke[0]));
    for (const point of stroke) context.lineTo(...place(point)); // a dot is a line to itself
    context.stroke();
  }
}
