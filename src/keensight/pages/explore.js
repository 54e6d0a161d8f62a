// The map of an exploration: points on a canvas, small pictures from JPEG sheets that are decoded when they are needed.

const facts = JSON.parse(document.getElementById("facts").textContent);
const texts = [...document.querySelectorAll("script.sheet")];
const field = document.getElementById("field");
const tip = document.getElementById("tip");
const picked = document.getElementById("picked");
const only = document.getElementById("only");
const pen = field.getContext("2d");
const [tileWidth, tileHeight] = facts.tile;
const count = facts.paths.length;

const unpack = (text) => new Uint16Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const places = unpack(facts.places);
const labels = unpack(facts.labels);
const x = Float32Array.from({ length: count }, (_, i) => places[2 * i] / 65535);
const y = Float32Array.from({ length: count }, (_, i) => places[2 * i + 1] / 65535);
const shownClass = facts.names.map(() => true);
const view = { x: 0.5, y: 0.5, zoom: 1 }; // the middle of the canvas on the map, and the scale
const PICTURES = 250; // at most so many in sight are drawn as pictures instead of points
const sheets = new Map();
let chosen = -1;
let waiting = false;
let onlyMarked = false;

function sheet(number) {
  if (!sheets.has(number)) {
    const image = new Image();
    image.src = texts[number].textContent.trim();
    image.isReady = image.decode().then(() => {
      image.ready = true; // drawn sooner, it would be decoded while everything waits
      redraw();
    });
    sheets.set(number, image);
  }
  return sheets.get(number);
}

function tile(target, i, left, top, width, height) {
  const perSheet = facts.columns ** 2;
  const image = sheet(Math.floor(i / perSheet));
  if (!image.ready) return false;
  const at = i % perSheet;
  const from = [(at % facts.columns) * tileWidth, Math.floor(at / facts.columns) * tileHeight];
  target.drawImage(image, ...from, tileWidth, tileHeight, left, top, width, height);
  return true;
}

const MARGIN = 24;
const marked = Uint8Array.from({ length: count }, (_, i) => (i in facts.marks ? 1 : 0));
const byClass = Uint32Array.from({ length: count }, (_, i) => i).sort((a, b) => labels[a] - labels[b] || a - b);

// Where things are on the canvas. Its size is asked for once, not for each of 30,000 points: that is what takes time.
function scale() {
  const [width, height] = [field.clientWidth, field.clientHeight];
  const spanX = Math.max(50, Math.min(width, height * 1.6) - 2 * MARGIN) * view.zoom;
  const spanY = (height - 2 * MARGIN) * view.zoom;
  return {
    width, height, spanX, spanY,
    left: (i) => (x[i] - view.x) * spanX + width / 2,
    top: (i) => (y[i] - view.y) * spanY + height / 2,
  };
}

function isShown(i) {
  return shownClass[labels[i]] && (marked[i] || !onlyMarked);
}

function inSight({ width, height, left, top }) {
  const found = [];
  for (const i of byClass) {
    if (!isShown(i)) continue;
    const [atX, atY] = [left(i), top(i)];
    if (atX > -40 && atY > -40 && atX < width + 40 && atY < height + 40) found.push(i);
  }
  return found;
}

function draw() {
  waiting = false;
  const ratio = devicePixelRatio || 1;
  const at = scale();
  const { width, height } = at;
  if (field.width !== Math.round(width * ratio) || field.height !== Math.round(height * ratio)) {
    field.width = Math.round(width * ratio);
    field.height = Math.round(height * ratio);
  }
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, width, height);
  const found = inSight(at);
  const ink = getComputedStyle(document.body).color;
  const asPictures = found.length <= PICTURES;
  const big = Math.min(64, Math.max(24, Math.sqrt((width * height) / Math.max(1, found.length)) * 0.6));
  const side = found.length > 8000 ? 3 : found.length > 1500 ? 4 : 6;
  let colour = -1;
  for (const i of found) {
    const [left, top] = [at.left(i), at.top(i)];
    if (labels[i] !== colour) {
      colour = labels[i];
      pen.fillStyle = facts.colours[colour];
    }
    if (asPictures) {
      const high = (big * tileHeight) / tileWidth;
      pen.fillRect(left - big / 2 - 2, top - high / 2 - 2, big + 4, high + 4);
      tile(pen, i, left - big / 2, top - high / 2, big, high);
    } else pen.fillRect(left - side / 2, top - side / 2, side, side);
    if (marked[i]) ring(left, top, asPictures ? big * 0.75 : side + 1, ink, 1.5);
  }
  if (chosen >= 0) ring(at.left(chosen), at.top(chosen), asPictures ? big * 0.85 : 9, ink, 3);
}

function ring(left, top, radius, colour, width) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.beginPath();
  pen.arc(left, top, radius, 0, 2 * Math.PI);
  pen.stroke();
}

function redraw() {
  if (!waiting) {
    waiting = true;
    requestAnimationFrame(draw);
  }
}

function nearest(left, top, within = 18) {
  const at = scale();
  let best = -1;
  let least = within ** 2;
  for (let i = 0; i < count; i++) {
    const far = (at.left(i) - left) ** 2 + (at.top(i) - top) ** 2;
    if (far < least && isShown(i)) {
      best = i;
      least = far;
    }
  }
  return best;
}

function said(i) {
  const split = facts.splits[i] ? `, ${facts.splits[i]}` : "";
  return [`${facts.names[labels[i]]}${split}`, facts.paths[i], facts.marks[i] ?? ""].filter(Boolean);
}

function fill(box, i) {
  const canvas = box.querySelector("canvas");
  [canvas.width, canvas.height] = [tileWidth, tileHeight];
  const pending = () => tile(canvas.getContext("2d"), i, 0, 0, tileWidth, tileHeight);
  if (!pending()) sheet(Math.floor(i / facts.columns ** 2)).isReady.then(pending);
  const text = box.querySelector("div");
  text.replaceChildren(...said(i).map((line) => Object.assign(document.createElement("div"), { textContent: line })));
}

function choose(i) {
  chosen = i;
  if (i >= 0) {
    const canvas = document.createElement("canvas");
    canvas.setAttribute("aria-hidden", "true");
    picked.replaceChildren(canvas, document.createElement("div"));
    fill(picked, i);
  }
  redraw();
}

function zoom(factor) {
  view.zoom = Math.min(200, Math.max(1, view.zoom * factor));
  if (view.zoom === 1) [view.x, view.y] = [0.5, 0.5];
  redraw();
}

function step(dx, dy) {
  if (chosen < 0) return choose(nearest(field.clientWidth / 2, field.clientHeight / 2, Infinity));
  let [best, least] = [-1, Infinity];
  for (let i = 0; i < count; i++) {
    if (i === chosen || !isShown(i)) continue;
    const [ahead, aside] = [(x[i] - x[chosen]) * dx + (y[i] - y[chosen]) * dy, (x[i] - x[chosen]) * dy + (y[i] - y[chosen]) * dx];
    if (ahead > 0 && Math.abs(aside) <= ahead && ahead + Math.abs(aside) < least) [best, least] = [i, ahead + Math.abs(aside)];
  }
  if (best < 0) return;
  choose(best);
  if (view.zoom > 1) [view.x, view.y] = [x[best], y[best]];
}

let drag = null;
field.addEventListener("pointerdown", (event) => {
  drag = { left: event.offsetX, top: event.offsetY, x: view.x, y: view.y, moved: false };
  if (event.pointerType === "mouse") field.setPointerCapture(event.pointerId);
});
field.addEventListener("pointermove", (event) => {
  if (drag && event.buttons && view.zoom > 1 && event.pointerType === "mouse") {
    const { spanX, spanY } = scale();
    view.x = drag.x - (event.offsetX - drag.left) / spanX;
    view.y = drag.y - (event.offsetY - drag.top) / spanY;
    drag.moved ||= Math.hypot(event.offsetX - drag.left, event.offsetY - drag.top) > 4;
    tip.hidden = true;
    return redraw();
  }
  const i = nearest(event.offsetX, event.offsetY);
  tip.hidden = i < 0;
  if (i < 0) return;
  fill(tip, i);
  tip.style.left = `${Math.max(0, Math.min(event.offsetX + 14, field.clientWidth - tip.offsetWidth))}px`;
  tip.style.top = `${event.offsetY > field.clientHeight / 2 ? event.offsetY - tip.offsetHeight - 14 : event.offsetY + 14}px`;
});
field.addEventListener("pointerleave", () => (tip.hidden = true));
field.addEventListener("pointerup", (event) => {
  if (drag && !drag.moved) choose(nearest(event.offsetX, event.offsetY, 24));
  drag = null;
});
field.addEventListener("wheel", (event) => {
  if (document.activeElement !== field && !event.ctrlKey) return; // else the page could not be scrolled past the map
  event.preventDefault();
  const old = scale();
  zoom(Math.exp(-event.deltaY / 400));
  const now = scale();
  if (view.zoom > 1) {
    view.x += (event.offsetX - old.width / 2) * (1 / old.spanX - 1 / now.spanX);
    view.y += (event.offsetY - old.height / 2) * (1 / old.spanY - 1 / now.spanY);
  }
}, { passive: false });
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
field.addEventListener("keydown", (event) => {
  if (KEYS[event.key]) step(...KEYS[event.key]);
  else if (event.key === "+" || event.key === "=") zoom(1.5);
  else if (event.key === "-") zoom(1 / 1.5);
  else return;
  event.preventDefault();
});

function centred(factor) {
  if (chosen >= 0 && view.zoom === 1) [view.x, view.y] = [x[chosen], y[chosen]];
  zoom(factor);
}
document.getElementById("closer").addEventListener("click", () => centred(1.6));
document.getElementById("farther").addEventListener("click", () => zoom(1 / 1.6));
document.getElementById("whole").addEventListener("click", () => zoom(0));
only?.addEventListener("change", () => {
  onlyMarked = only.checked;
  redraw();
});

facts.names.forEach((name, k) => {
  const box = Object.assign(document.createElement("input"), { type: "checkbox", checked: true });
  box.addEventListener("change", () => {
    shownClass[k] = box.checked;
    redraw();
  });
  const dot = Object.assign(document.createElement("span"), { className: "swatch" });
  dot.style.background = facts.colours[k];
  const label = document.createElement("label");
  label.append(box, " ", dot, ` ${name}`);
  document.getElementById("legend").append(label);
});
document.getElementById("atlas").hidden = false;
addEventListener("resize", redraw);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
redraw();
