// Findings of the audit as cards, each with what to do about its pictures.

import { call, small } from "./api.js";
import { $, announce, button, count, h } from "./dom.js";
import { trouble } from "./trouble.js";

const SHOWN = 12; // pictures of a card

let shown = "";
let classes = [];

export function show(state) {
  classes = state.classes.map((each) => each.name);
  const busy = state.job?.status === "running";
  $("audit").disabled = $("explore").disabled = busy || !state.classes.some((each) => each.count);
  if (state.job?.what === "explore" && state.job.status === "done") $("open-map").hidden = false;
  const now = JSON.stringify([state.findings, classes]);
  if (now === shown) return;
  shown = now;
  const findings = state.findings;
  const focused = document.activeElement?.closest("#findings .finding");
  const [at, key] = [[...$("findings").children].indexOf(focused), document.activeElement?.dataset.key];
  $("findings").replaceChildren();
  if (!findings) return;
  const open = findings.filter((each) => each.samples.length && Object.keys(each.decided).length < each.samples.length);
  const told = findings.length ? `${count(findings.length, "finding")}, ${open.length} of them to decide about.` : "Nothing was found that needs your eye.";
  $("findings").append(h("p", { role: "status" }, told), ...findings.map(card));
  if (!focused) return;
  // what was pressed may be gone: then to what is next in its card, or to the card
  const own = $("findings").children[at];
  const next = [...own.querySelectorAll("[data-key]")].find((each) => each.dataset.key === key) ?? own.querySelector("button, select") ?? own;
  next.focus();
}

function card(finding) {
  const left = finding.samples.filter((file) => !finding.decided[file]);
  const shownFiles = finding.samples.slice(0, SHOWN);
  const more = finding.samples.length - shownFiles.length;
  const all = h("p", { className: "buttons" });
  if (left.length) all.append(button(left.length > 1 ? "Keep all as they are" : "Keep as it is", () => decide(finding, "keep", left)));
  return h(
    "div",
    { className: `finding${left.length ? "" : " decided"}`, tabindex: "-1" },
    h("p", {}, finding.sentence),
    h("ul", {}, ...shownFiles.map((file, i) => picture(finding, file, finding.evidence.suggested?.[i]))),
    more > 0 ? h("p", { className: "small" }, `and ${more} more`) : "",
    all,
  );
}

// `other` is the class that the picture may be of, where the finding says one.
function picture(finding, file, other) {
  const [label] = file.split("/");
  const parts = [h("img", { src: small(file), alt: file, loading: "lazy" }), h("span", {}, other ? `${label}; or ${other}?` : label)];
  const done = finding.decided[file];
  if (done) return h("li", { className: "decided" }, ...parts, ` · ${done}`);
  const move = h("select", { "aria-label": `Move ${file} to` }, h("option", { value: "" }, "Move to …"));
  move.append(...classes.filter((each) => each !== label).map((each) => h("option", { value: each }, each)));
  move.addEventListener("change", () => move.value && decide(finding, "relabel", [file], move.value));
  const drop = button("Remove", () => decide(finding, "drop", [file]));
  drop.setAttribute("aria-label", `Remove ${file}`);
  drop.dataset.key = `${file}/drop`;
  move.dataset.key = `${file}/move`;
  const is = classes.includes(other) ? [button(`It is ${other}`, () => decide(finding, "relabel", [file], other)), " "] : [];
  if (is.length) is[0].setAttribute("aria-label", `${file} is ${other}: move it there`);
  return h("li", {}, ...parts, h("br"), ...is, drop, " ", move);
}

async function decide(finding, action, files, label) {
  try {
    await call("decide", { json: { action, files, label, finding: finding.number, why: `finding: ${finding.kind}` } });
    announce("Done. Undo takes it back.");
    trouble(null);
  } catch (error) {
    trouble(error);
  }
}

for (const what of ["audit", "explore"]) {
  $(what).addEventListener("click", () => call(what, { json: {} }).then(() => trouble(null), trouble));
}
