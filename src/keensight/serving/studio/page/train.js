// Training: one button and a dial, curves while it learns, and what came of it.

import { call } from "./api.js";
import { $, button, count, h } from "./dom.js";
import { trouble } from "./trouble.js";

const MINUTES = { "1m": "1 minute", "5m": "5 minutes", "20m": "20 minutes", "1h": "1 hour" };
const WORDS = { train: "Training", audit: "Looking for problems", explore: "Drawing the map", compare: "Comparing", gather: "Searching" };
const PLACES = { audit: "check-work", explore: "check-work" }; // where its progress is shown
const NS = "http://www.w3.org/2000/svg";

let began = 0;
let first = null; // when the first progress of this stage came, and how much it was
let shownModels = "";

export function show(state) {
  if (!$("budgets").children.length) $("budgets").append(...state.budgets.map(choice));
  const filled = state.classes.filter((each) => each.count > 0).length;
  const job = state.job;
  const place = $(PLACES[job?.what] ?? "train-work");
  if ($("work").parentElement !== place) place.append($("work"));
  const busy = job?.status === "running";
  $("start").disabled = busy || filled < 2;
  $("why-not").textContent = filled < 2 ? "Learning needs at least two classes with pictures." : "";
  $("resume").hidden = !state.unfinished || busy;
  $("job").hidden = !busy;
  $("enough").hidden = job?.what !== "train";
  if (busy) progress(job);
  else began = 0;
  ended(job, state.unfinished);
  $("notes").hidden = !job?.notes.length;
  $("notes").querySelector("ul").replaceChildren(...(job?.notes ?? []).map((note) => h("li", {}, note)));
  models(state);
}

function choice(budget, i) {
  return h("label", {}, h("input", { type: "radio", name: "budget", value: budget, checked: i === 0 }), MINUTES[budget] ?? budget);
}

function progress(job) {
  began ||= Date.now();
  const { done, total } = job;
  if (first?.stage !== job.stage || first.done > done) first = { stage: job.stage, done, at: Date.now() };
  const speed = (done - first.done) / (Date.now() - first.at);
  const left = done < total && speed > 0 ? `, about ${duration((total - done) / speed)} left` : "";
  const tried = job.trial ? ` (${job.trial})` : "";
  $("stage").textContent = `${WORDS[job.what]}: ${job.stage}${tried}${left}`;
  if (total) {
    $("bar").max = total;
    $("bar").value = done;
  } else $("bar").removeAttribute("value");
  $("enough").disabled = Boolean(job.about.enough);
  $("curve").replaceChildren(...(job.epochs.length ? [curve(job.epochs, job.num_epochs)] : []));
}

function duration(ms) {
  const seconds = Math.ceil(ms / 1000);
  return seconds < 90 ? count(seconds, "second") : count(Math.round(seconds / 60), "minute");
}

// The accuracy on pictures that it does not learn from, after each round.
function curve(epochs, total) {
  const [width, height, left] = [340, 130, 44];
  const x = (number) => left + ((number - 0.5) / Math.max(total, epochs.length)) * (width - left - 8);
  const y = (share) => 8 + (1 - share) * (height - 26);
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  const last = epochs.at(-1);
  const best = epochs.reduce((a, b) => (b.val_accuracy > a.val_accuracy ? b : a));
  svg.setAttribute("aria-label", `After round ${last.number} of ${total}, it is right on ${percent(last.val_accuracy)} of pictures that it does not learn from; at best ${percent(best.val_accuracy)}.`);
  for (const share of [0, 0.5, 1]) {
    svg.append(element("line", { x1: left, x2: width, y1: y(share), y2: y(share), class: "axis" }), element("text", { x: 0, y: y(share) + 4 }, `${100 * share} %`));
  }
  svg.append(element("polyline", { points: epochs.map((each) => `${x(each.number)},${y(each.val_accuracy)}`).join(" "), class: "line" }));
  svg.append(element("circle", { cx: x(best.number), cy: y(best.val_accuracy), r: 4, class: "best" }));
  svg.append(element("text", { x: left, y: height - 2 }, `round ${last.number} of ${total}; right on ${percent(last.val_accuracy)}, at best ${percent(best.val_accuracy)}`));
  return svg;
}

function element(tag, attributes, text = "") {
  const made = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

const percent = (share) => `${(100 * share).toFixed(0)} %`;

function ended(job, unfinished) {
  const words = {
    done: job?.what === "train" ? "The model is ready. Try it below." : "",
    failed: `It did not work: ${job?.error}`,
    crashed: `${job?.error} ${unfinished ? "What it had learnt is kept: go on with it, or begin again." : "Begin again."}`,
    stopped: "It was cancelled.",
  };
  const text = words[job?.status] ?? "";
  if ($("ended").textContent !== text) $("ended").textContent = text;
  $("ended").className = ["failed", "crashed"].includes(job?.status) ? "warn" : "";
}

function models(state) {
  const now = JSON.stringify([state.models, state.compared, state.job?.status]);
  if (now === shownModels) return;
  shownModels = now;
  const list = state.models.toReversed().map((model) => {
    const report = h("a", { href: `api/models/${model.name}/report`, target: "_blank", rel: "noopener" }, `Report of model ${model.name}`);
    return h("div", { className: "finding" }, h("p", {}, h("b", {}, `Model ${model.name}: `), measured(model)), ...withMistakes(report, model, state));
  });
  if (state.models.length > 1) list.unshift(comparison(state));
  $("models").replaceChildren(...list);
}

function measured({ accuracy, accuracy_low: low, accuracy_high: high, n, classes }) {
  return `tells ${classes.join(", ")} apart; right on ${percent(accuracy)} of ${count(n, "picture")} that it did not learn from (likely between ${percent(low)} and ${percent(high)} in general).`;
}

function comparison(state) {
  const [before, after] = state.models.slice(-2);
  const busy = state.job?.status === "running";
  const compare = button(`Compare model ${after.name} with model ${before.name}`, () => call("compare", { json: {} }).then(() => trouble(null), trouble));
  compare.disabled = busy;
  return h("div", {}, h("p", { className: "buttons" }, compare), h("p", { role: "status" }, state.compared?.sentence ?? ""));
}

function withMistakes(report, model, state) {
  const list = h("ul", {});
  const show = button("Look at its mistakes", async () => {
    try {
      const { mistakes } = await call(`models/${model.name}/mistakes`);
      list.replaceChildren(...(mistakes.length ? mistakes.map((each) => mistake(each, state)) : [h("li", {}, "It makes none on pictures that it did not learn from.")]));
    } catch (error) {
      trouble(error);
    }
  });
  return [h("p", { className: "buttons" }, report, show), list];
}

function mistake({ file, label, answer, probability }, state) {
  const fix = button(`It is ${answer}`, () => move(answer));
  const move = async (to) => {
    try {
      await call("decide", { json: { action: "relabel", files: [file], label: to, why: "a model's mistake" } });
      item.className = "decided";
      fix.disabled = true;
    } catch (error) {
      trouble(error);
    }
  };
  if (!state.classes.some((each) => each.name === answer)) fix.disabled = true;
  fix.setAttribute("aria-label", `${file} is ${answer}: move it there`);
  const item = h("li", {}, h("img", { src: `api/small/${file.split("/").map(encodeURIComponent).join("/")}`, alt: file, loading: "lazy" }), `${label}, taken for ${answer} (${percent(probability)}) `, fix);
  return item;
}

$("train-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const budget = new FormData($("train-form")).get("budget");
  call("train", { json: { budget } }).then(() => trouble(null), trouble);
});
$("resume").addEventListener("click", () => call("train", { json: { resume: true } }).then(() => trouble(null), trouble));
$("enough").addEventListener("click", () => call("enough", { json: {} }).catch(trouble));
$("stop").addEventListener("click", () => call("stop", { json: {} }).catch(trouble));
