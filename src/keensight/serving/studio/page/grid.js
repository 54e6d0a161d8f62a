// A class's pictures as a grid. Only what is in sight is drawn, so that 20,000 of them scroll as ten do.

import { call, small } from "./api.js";
import { $, announce, count, h, openDialog } from "./dom.js";
import { trouble } from "./trouble.js";

const LEAST_PX = 110;
const BEYOND = 2; // rows drawn above and below what is in sight

let name = "";
let files = [];
let chosen = new Set();
let at = 0; // the picture under the keyboard
let columns = 1;
let side = LEAST_PX;
const grid = $("grid");
const room = h("div", {});
grid.append(room);

export async function open(of, state) {
  name = of;
  chosen = new Set();
  at = 0;
  $("class-title").textContent = name;
  const others = state.classes.map((each) => each.name).filter((each) => each !== name);
  $("move-to").replaceChildren(h("option", { value: "" }, "Move to …"), ...others.map((each) => h("option", { value: each }, each)));
  const closed = openDialog($("class-dialog"));
  await load();
  grid.focus();
  await closed;
}

async function load() {
  try {
    files = (await call("pictures", { query: { class: name } })).files;
  } catch (error) {
    trouble(error);
  }
  chosen = new Set([...chosen].filter((each) => files.includes(each)));
  at = Math.min(at, Math.max(0, files.length - 1));
  draw();
}

function draw() {
  columns = Math.max(2, Math.floor(grid.clientWidth / LEAST_PX));
  side = Math.floor(grid.clientWidth / columns);
  room.style.height = `${Math.ceil(files.length / columns) * side}px`;
  const first = Math.max(0, Math.floor(grid.scrollTop / side) - BEYOND) * columns;
  const last = Math.min(files.length, (Math.ceil((grid.scrollTop + grid.clientHeight) / side) + BEYOND) * columns);
  const kept = new Map([...room.children].map((tile) => [tile.dataset.file, tile]));
  const tiles = [];
  for (let i = first; i < last; i++) {
    const file = files[i];
    const tile = kept.get(file) ?? make(file);
    tile.style.cssText = `left:${(i % columns) * side}px;top:${Math.floor(i / columns) * side}px;width:${side}px;height:${side}px`;
    tile.setAttribute("aria-selected", String(chosen.has(file)));
    tile.setAttribute("aria-posinset", i + 1);
    tile.setAttribute("aria-setsize", files.length);
    tile.classList.toggle("at", i === at);
    tile.id = `tile-${i}`;
    tiles.push(tile);
  }
  room.replaceChildren(...tiles);
  if (files.length) grid.setAttribute("aria-activedescendant", `tile-${at}`);
  $("chosen").textContent = chosen.size ? `${chosen.size} of ${count(files.length, "picture")} chosen` : `${count(files.length, "picture")}. Click to choose; by keyboard arrows and space.`;
  $("remove").disabled = $("move-to").disabled = !chosen.size;
}

function make(file) {
  const tile = h("div", { className: "tile", role: "option" }, h("img", { src: small(`${name}/${file}`), alt: file }));
  tile.dataset.file = file;
  tile.addEventListener("click", (event) => {
    const to = files.indexOf(file);
    if (event.shiftKey) for (let i = Math.min(at, to); i <= Math.max(at, to); i++) chosen.add(files[i]);
    else toggle(file);
    at = to;
    draw();
  });
  return tile;
}

const toggle = (file) => (chosen.has(file) ? chosen.delete(file) : chosen.add(file));

grid.addEventListener("scroll", () => requestAnimationFrame(draw));
addEventListener("resize", () => $("class-dialog").open && draw());
grid.addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -files.length, End: files.length }[event.key];
  if (step) at = Math.max(0, Math.min(files.length - 1, at + step));
  else if (event.key === " " && files.length) toggle(files[at]);
  else if (event.key === "Delete" && chosen.size) return decide("drop");
  else if (event.key === "a" && (event.ctrlKey || event.metaKey)) chosen = new Set(files);
  else return;
  event.preventDefault();
  const top = Math.floor(at / columns) * side;
  if (top < grid.scrollTop) grid.scrollTop = top;
  if (top + side > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + side - grid.clientHeight;
  draw();
});

async function decide(action, label) {
  const number = chosen.size;
  try {
    await call("decide", { json: { action, label, files: [...chosen].map((file) => `${name}/${file}`) } });
    announce(`${count(number, "picture")} ${action === "drop" ? "removed" : `moved to ${label}`}. Undo takes it back.`);
  } catch (error) {
    trouble(error);
    $("class-dialog").close();
  }
  $("move-to").value = "";
  await load();
  grid.focus();
}
$("remove").addEventListener("click", () => decide("drop"));
$("move-to").addEventListener("change", () => $("move-to").value && decide("relabel", $("move-to").value));
