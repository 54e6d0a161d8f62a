// The page: what the server has, pictures in, answers out.

import { Refused, call, hasKey } from "./api.js";
import { takePicture } from "./camera.js";
import { Card, spoken } from "./cards.js";
import { $, announce, button, count, h, openDialog, percent } from "./dom.js";
import { render } from "./markdown.js";
import { Pad } from "./pad.js";
import { fitting, smaller } from "./shrink.js";

const AT_ONCE = 8; // pictures in one request, so that the first answers come soon
const NAME_LENGTH = 200;
const PART_BYTES = 1024; // what a name and the multipart boundaries take, at most
const CONVERTIBLE = ["too_many_pixels", "too_much_work", "unsupported_format"]; // refusals of pictures that the browser may be able to convert
const NAMES_SHOWN = 12;
const PAUSE_MS = 200; // after a stroke

let server = null; // what /v1/models says
let model = null;
let cards = [];
let queue = Promise.resolve();

// ---- the server -------------------------------------------------------------------------------------------------

async function predict(asked, pictures, onbusy) {
  const body = new FormData();
  for (const { blob, name } of pictures) body.append("file", blob, name.slice(-NAME_LENGTH));
  const response = await call("v1/predict", { query: { model: idOf(asked) }, body, onbusy });
  return response.json();
}

const links = (asked) => ({
  explain: async (blob, label) => {
    const body = new FormData();
    body.append("file", blob, blob.name ?? "picture.jpg");
    const response = await call("v1/explain", { query: { model: idOf(asked), label, format: "png" }, body });
    return {
      overlay: await response.blob(),
      largest: Number(response.headers.get("X-Largest-Drop") ?? 1),
      inverted: response.headers.get("X-Inverted") === "true",
    };
  },
  verdict: (id, right, label) => call("v1/verdict", { json: { id, right, label } }),
});

// What a card must know of the model, and its name where there are several.
const shape = ({ labels, fit, name, version }) => ({ labels, fit, by: server.models.length > 1 ? `${name}@${version}` : "" });
// The name is enough, and stays valid for a new version; only several versions of one name need theirs.
const idOf = ({ name, version }) => (server.models.filter((each) => each.name === name).length > 1 ? `${name}@${version}` : name);
const pathOf = (asked, what) => `v1/models/${encodeURIComponent(idOf(asked))}/${what}`;

async function start() {
  try {
    server = await (await call("v1/models")).json();
  } catch (error) {
    const again = button("Try again", start);
    $("banner").replaceChildren(h("p", {}, h("b", {}, "No answer. "), error.message), h("p", { className: "buttons" }, again));
    $("banner").hidden = false;
    announce(error.message);
    return;
  }
  const models = server.models;
  $("models").replaceChildren(...models.map((each) => h("option", { value: idOf(each) }, idOf(each))));
  $("models").hidden = models.length < 2;
  $("privacy").textContent = server.keep
    ? "This server keeps the pictures that are sent to it, with what you say about its answers."
    : "This server keeps no pictures.";
  if (models.length) choose(named() ?? models.find((each) => each.default) ?? models[0]);
}

// The model that the page's address names: ?model=NAME or NAME@VERSION, or ?model=NAME&version=VERSION.
function named() {
  const address = new URLSearchParams(location.search);
  const version = address.get("version");
  const asked = [address.get("model"), version].filter(Boolean).join("@");
  if (!asked) return undefined;
  const is = (each) => [each.name, each.version, `${each.name}@${each.version}`].includes(asked);
  const found = server.models.filter(is);
  if (!found.length) $("trouble").textContent = `This server has no model ${asked}, which the page's address names.`;
  return found.find((each) => each.default) ?? found[0];
}

// ---- the model --------------------------------------------------------------------------------------------------

function choose(chosen) {
  model = chosen;
  $("models").value = idOf(model);
  document.title = `${model.name} · keensight`;
  $("product").textContent = `keensight · version ${model.version}`;
  $("name").textContent = model.name;
  $("accuracy").textContent = measured(model.accuracy);
  $("facts").textContent = facts(model);
  warn(model);
  $("vouched").hidden = !model.verified;
  $("vouched").textContent = `✓ Signed by the key ${(model.signed_by ?? "").slice(0, 16)}, and checked by this server.`;
  $("links").hidden = $("ask").hidden = false;
  $("draw").hidden = !model.drawing;
  showPad(model.drawing);
  pad.change([]);
}

function measured(accuracy) {
  if (!accuracy) return "The accuracy of this model was not measured.";
  const { split, value, low, high, n } = accuracy;
  const share = (p) => (100 * p).toFixed(1);
  return `Right on ${share(value)}\u202f% of ${count(n, `${split} picture`)} (95\u202f% interval ${share(low)}–${share(high)}\u202f%).`;
}

function facts({ labels, height, width, channels, parameters, abstain_below }) {
  const names = labels.slice(0, NAMES_SHOWN).join(", ");
  const more = labels.length > NAMES_SHOWN ? ` and ${labels.length - NAMES_SHOWN} more` : "";
  return [
    `It tells ${labels.length} classes apart: ${names}${more}`,
    `looks at ${width}×${height} pixels in ${channels === 1 ? "grey" : "colour"}`,
    parameters === null ? "" : count(parameters, "parameter"),
    `says “not sure” below ${Math.round(100 * abstain_below)}\u202f%`,
  ].filter(Boolean).join(" · ");
}

function warn({ signed, verified, warnings = [] }) {
  const vouching = signed
    ? [h("b", {}, "The signature of this model was not checked. "), "This server was started without the key for it."]
    : [h("b", {}, "This model is not signed. "), "Anyone who could write its files may have changed it."];
  const all = [...warnings.map((text) => [text]), ...(verified ? [] : [vouching])];
  $("banner").replaceChildren(...all.map((parts) => h("p", {}, ...parts)));
  $("banner").hidden = all.length === 0;
}

async function openCard() {
  const opened = openDialog($("card-dialog"));
  $("card-text").replaceChildren("Loading …");
  try {
    const text = await (await call(pathOf(model, "card"))).text();
    $("card-text").replaceChildren(render(text));
    const weak = [...$("card-text").querySelectorAll("h3")].find((each) => /weakness/i.test(each.textContent));
    if (weak) {
      weak.className = "weak";
      weak.scrollIntoView({ block: "center" });
    }
  } catch (error) {
    $("card-text").replaceChildren(error.message);
  }
  await opened;
}

// With a key, a plain link would not be answered; a page opened from here would have no styles. So it is saved.
async function openReport() {
  if (!hasKey()) return window.open(pathOf(model, "report"), "_blank", "noopener");
  try {
    const url = URL.createObjectURL(await (await call(pathOf(model, "report"))).blob());
    h("a", { href: url, download: `${model.name}-report.html` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  } catch (error) {
    announce(error.message);
  }
}

// ---- pictures ---------------------------------------------------------------------------------------------------

function add(files) {
  if (!model || !files.length) return;
  const asked = model;
  const jobs = [...files].map((file) => ({ file, name: file.name || "picture", asked }));
  for (const job of jobs) {
    job.card = new Card(links(asked), { name: job.name, picture: job.file });
    job.card.image.loading = "lazy";
  }
  cards.push(...jobs.map(({ card }) => card));
  $("cards").prepend(...jobs.map(({ card }) => card.node));
  $("answers").hidden = false;
  jobs[0].isFirst = true;
  look(jobs[0].card);
  ask(jobs);
}

// On a phone the card comes to the top: the answer below its picture would be out of sight.
const look = (card) => show(card.node, matchMedia("(max-width: 46rem)").matches ? "start" : "nearest");

function show(node, block) {
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  node.scrollIntoView({ block, behavior: calm ? "auto" : "smooth" });
}

function ask(jobs) {
  queue = queue.then(() => answerAll(jobs)).catch((error) => announce(error.message));
}

async function answerAll(jobs) {
  const most = server.max_bytes - PART_BYTES;
  let part = [];
  let bytes = 0;
  for (const job of jobs) {
    if (!job.card.node.isConnected) continue; // removed meanwhile
    try {
      Object.assign(job, await fitting(job.file, most));
    } catch (error) {
      fail([job], error);
      continue;
    }
    const size = job.blob.size + PART_BYTES;
    if (part.length && (part.length >= Math.min(AT_ONCE, server.max_pictures) || bytes + size > server.max_bytes)) {
      await send(part);
      [part, bytes] = [[], 0];
    }
    part.push(job);
    bytes += size;
  }
  if (part.length) await send(part);
}

async function send(jobs) {
  try {
    const waiting = (seconds) => {
      const text = `The server is busy. Trying again in ${Math.ceil(seconds)} s …`;
      for (const { card } of jobs) card.wait(text);
      announce(text);
    };
    const { predictions, timing_ms } = await predict(jobs[0].asked, jobs, waiting);
    const again = [];
    const said = jobs.map((job, i) => {
      const prediction = predictions[i];
      if (isConvertible(job, prediction?.error)) {
        again.push({ job, why: prediction.error.message });
        return "";
      }
      if (!prediction || prediction.error) {
        const message = prediction?.error?.message ?? "The server left this picture out.";
        job.card.fail(new Refused(message));
        return `${job.name}: no answer. ${message}`;
      }
      job.card.answer(prediction, { ...job, ...shape(job.asked), ms: timing_ms?.total, keep: server.keep, explains: server.explain });
      return spoken(job.name, prediction);
    });
    for (const { card, isFirst } of jobs) if (isFirst) look(card); // it has grown by its answer
    announce(said.filter(Boolean).join(". "));
    for (const { job, why } of again) await convert(job, why);
  } catch (error) {
    if (jobs.length === 1 && isConvertible(jobs[0], error)) await convert(jobs[0], error.message);
    else fail(jobs, error);
  }
}

const isConvertible = (job, error) => !job.copied && CONVERTIBLE.includes(error?.code);

async function convert(job, why) {
  try {
    Object.assign(job, { blob: await smaller(job.file, server.max_bytes - PART_BYTES, why), copied: true });
  } catch (error) {
    return fail([job], error);
  }
  await send([job]);
}

function fail(jobs, error) {
  for (const job of jobs) {
    job.card.fail(error, () => {
      job.card.wait();
      ask([job]);
    });
  }
  announce(`${jobs.length === 1 ? jobs[0].name : count(jobs.length, "picture")}: no answer. ${error.message}`);
}

// ---- the drawing pad --------------------------------------------------------------------------------------------

let drawing = null; // the card beside the pad
let pause = 0;
let turn = 0; // counts the questions: an answer to an earlier drawing is dropped

const pad = new Pad(() => {
  clearTimeout(pause);
  turn++;
  if (pad.isEmpty) {
    drawing?.release();
    drawing = null;
    $("pad-answer").replaceChildren(h("p", { className: "small" }, "The answer comes here."));
  } else if (server && !server.keep) pause = setTimeout(askPad, PAUSE_MS);
  $("pad-ask").hidden = !server?.keep; // where pictures are kept, only a click sends one
  $("pad-ask").disabled = pad.isEmpty;
});

async function askPad() {
  const mine = ++turn;
  const asked = model;
  const file = await pad.picture(asked.height);
  if (!drawing) {
    drawing = new Card(links(asked), { tag: "div", name: "" });
    drawing.node.setAttribute("role", "group");
    $("pad-answer").replaceChildren(drawing.node);
  }
  const card = drawing;
  try {
    const { predictions, timing_ms } = await predict(asked, [{ blob: file, name: file.name }], () => {});
    if (mine !== turn) return;
    const [prediction] = predictions;
    if (prediction.error) throw new Refused(prediction.error.message);
    card.show(file);
    card.answer(prediction, { ...shape(asked), blob: file, ms: timing_ms?.total, keep: server.keep, explains: server.explain });
    lookAtPad(card);
    announce(spoken("", prediction));
  } catch (error) {
    if (mine !== turn) return;
    card.fail(error, askPad);
    lookAtPad(card);
    announce(error.message);
  }
}

// The pad and its answer fit on a phone together, but the answer may lie below the fold. Nothing moves under a stroke.
function lookAtPad(card) {
  const { top, height } = card.node.getBoundingClientRect();
  if (top + height / 2 > innerHeight && !pad.isDrawing) show($("pad"), "start");
}

function showPad(open) {
  $("pad").hidden = !open;
  $("draw").setAttribute("aria-expanded", String(open));
  $("draw").textContent = open ? "Hide the pad" : "Draw";
}

// ---- wiring -----------------------------------------------------------------------------------------------------

$("models").addEventListener("change", () => {
  choose(server.models.find((each) => idOf(each) === $("models").value));
  $("trouble").textContent = "";
  history.replaceState(null, "", `?model=${encodeURIComponent($("models").value)}`); // so that it can be passed on
});
$("choose").addEventListener("click", () => $("files").click());
$("files").addEventListener("change", () => {
  add($("files").files);
  $("files").value = ""; // so that the same file can be chosen again
});
$("camera").addEventListener("click", async () => {
  $("trouble").textContent = "";
  try {
    const file = await takePicture();
    if (file) add([file]);
  } catch (error) {
    $("trouble").textContent = error.message;
    announce(error.message);
  }
});
$("draw").addEventListener("click", () => showPad($("pad").hidden));
$("pad-ask").addEventListener("click", askPad);
$("open-card").addEventListener("click", openCard);
$("open-report").addEventListener("click", openReport);
$("clear").addEventListener("click", () => {
  for (const card of cards.splice(0)) card.release();
  $("cards").replaceChildren();
  $("answers").hidden = true;
  $("choose").focus();
});

document.addEventListener("paste", (event) => {
  const files = event.clipboardData?.files;
  if (!files?.length) return;
  event.preventDefault();
  add(files);
});
const isFiles = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragover", (event) => {
  if (!isFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  document.body.classList.remove("dragging");
  if (!isFiles(event)) return;
  event.preventDefault(); // or the browser leaves the page for the picture
  add(event.dataTransfer.files);
});

start();
