// The page: pictures come by choice, drop or paste, and each gets an answer. Nothing is sent anywhere.

import { answered, opened } from "./answer.js";
import { $, announce, count, h, percent } from "./dom.js";
import { asSeen } from "./picture.js";

const SHOWN = 10; // labels
const facts = JSON.parse($("facts").textContent);
const REASONS = {
  none: "It is unlike anything that the model has learnt.",
  blank: "It is blank: all of it has nearly one colour.",
  unsure: "No label is likely enough.",
};

async function unpacked(id) {
  const text = $(id).textContent;
  $(id).remove();
  const bytes = Uint8Array.fromBase64?.(text) ?? Uint8Array.from(atob(text), (each) => each.charCodeAt(0)); // the first is quick, and new
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const session = Promise.all([unpacked("model"), unpacked("wasm")]).then(([model, wasm]) => opened(ort, model, wasm));
let last = session.then(
  () => ($("state").textContent = "The model is ready."),
  (error) => {
    $("state").textContent = `The model does not run in this browser (${error.message}). A newer one is needed: Chrome or Edge 113, Firefox 115, Safari 16.4, or later.`;
    $("state").className = "trouble";
  },
);

function card(file) {
  const image = h("img", { alt: file.name });
  image.src = URL.createObjectURL(file);
  const picture = h("div", { className: "picture" }, image);
  image.addEventListener("error", () => picture.replaceChildren(h("p", { className: "small" }, "no picture")));
  const answer = h("div", { className: "answer" }, h("h3", {}, "…"));
  return { item: h("li", { className: "card waiting" }, picture, answer), answer };
}

function told({ label, share, shares, reasons, notes }, file) {
  const title = reasons.includes("none") ? "None of these" : reasons.length ? "Not sure" : label;
  const sorted = shares.map((each, i) => [facts.labels[i], each]).sort((a, b) => b[1] - a[1]);
  const bars = sorted.slice(0, SHOWN).map(([name, each], i) => {
    const fill = h("span", { className: "fill" });
    fill.style.width = `${100 * each}%`;
    return h("li", { className: i ? "" : "best" }, h("span", {}, name), h("span", { className: "track" }, fill), h("span", { className: "value", title: String(each) }, percent(each)));
  });
  const guess = reasons.length ? [h("p", { className: "guess" }, `${reasons.map((each) => REASONS[each]).join(" ")} The nearest is ${label}.`)] : [];
  announce(`${file.name}: ${reasons.length ? `${title.toLowerCase()}, the nearest is ${label}` : `${label}, ${percent(share)}`}`);
  return [h("h3", {}, title), ...guess, h("ul", { className: "bars" }, ...bars), ...notes.map((each) => h("p", { className: "small note" }, each))];
}

// One after the other: each has the whole processor, and memory holds one picture.
function ask(files) {
  for (const file of files) {
    const { item, answer } = card(file);
    $("cards").prepend(item);
    last = last.then(async () => {
      try {
        const found = await answered(ort, await session, await asSeen(file, facts), facts);
        answer.replaceChildren(...told(found, file), h("p", { className: "small file" }, file.name));
        item.className = found.reasons.length ? "card unsure" : "card";
      } catch (error) {
        answer.replaceChildren(h("h3", {}, "No answer"), h("p", {}, error.message), h("p", { className: "small file" }, file.name));
        item.className = "card failed";
        announce(`${file.name}: ${error.message}`);
      }
    });
  }
  $("answers").hidden = false;
}

$("name").textContent = facts.name;
$("labels").textContent = `It tells ${facts.labels.slice(0, 12).join(", ")}${facts.labels.length > 12 ? ` and ${facts.labels.length - 12} more` : ""} apart.`;
$("warnings").hidden = !facts.warnings.length;
$("warnings").append(...facts.warnings.map((each) => h("p", {}, each)));
if (facts.accuracy) {
  const { split, value, low, high, n } = facts.accuracy;
  $("accuracy").textContent = `Right on ${percent(value)} of ${count(n, split === "test" ? "test picture" : "validation picture")} (likely between ${percent(low)} and ${percent(high)} in general).`;
}
$("made").textContent = `Model ${facts.version}, made with keensight ${facts.keensight}${facts.verified_by ? `; its bundle was signed by the key ${facts.verified_by.slice(0, 16)}, which was checked when this page was made` : ""}.`;

$("choose").addEventListener("click", () => $("files").click());
$("files").addEventListener("change", () => {
  ask($("files").files);
  $("files").value = "";
});
$("clear").addEventListener("click", () => {
  for (const image of document.querySelectorAll("#cards img")) URL.revokeObjectURL(image.src);
  $("cards").replaceChildren();
  $("answers").hidden = true;
  $("choose").focus();
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => event.relatedTarget || document.body.classList.remove("dragging"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  if (event.dataTransfer?.files.length) ask(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length) ask(event.clipboardData.files);
});
