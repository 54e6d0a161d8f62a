// Answers for one picture, or for what the camera sees, as fast as they come.

import { call } from "./api.js";
import { frame, watching } from "./camera.js";
import { $, announce, h, percent } from "./dom.js";
import { trouble } from "./trouble.js";

const LIVE_PX = 320;

let stop = null;

export function show({ models }) {
  $("no-model").hidden = models.length > 0;
  $("trying").hidden = !models.length;
  const names = models.map(({ name }) => name);
  const now = [...$("which").options].map((each) => each.value);
  if (names.toReversed().join() !== now.join()) {
    $("which").replaceChildren(...names.toReversed().map((name) => h("option", { value: name }, `Model ${name}`)));
  }
}

const ask = (blob, look) => call(`models/${$("which").value}/try`, { body: blob, query: look ? { look: "1" } : {} });

async function tryFile(file) {
  stop?.();
  $("tried").hidden = $("try-image").hidden = false;
  $("try-video").hidden = $("try-look").hidden = true;
  URL.revokeObjectURL($("try-image").src);
  $("try-image").src = URL.createObjectURL(file);
  $("answer").replaceChildren(h("h3", {}, "…"));
  try {
    const answer = await ask(file, true);
    $("try-look").src = answer.look;
    tell(answer);
    $("answer").append(lookButton());
    announce(spoken(answer));
    trouble(null);
  } catch (error) {
    $("try-image").hidden = true;
    $("answer").replaceChildren(h("p", { className: "warn" }, error.message));
    announce(error.message);
  }
}

function lookButton() {
  const button = h("button", { type: "button", "aria-pressed": "false" }, "Where did it look?");
  button.addEventListener("click", () => {
    $("try-look").hidden = !$("try-look").hidden;
    button.setAttribute("aria-pressed", String(!$("try-look").hidden));
  });
  return button;
}

function spoken({ label, probability, none, abstained }) {
  if (none) return "none of these";
  return abstained ? `not sure, perhaps ${label}` : `${label}, ${percent(probability)}`;
}

function tell(answer) {
  const title = answer.none ? "None of these" : answer.abstained ? `Not sure: ${answer.label}?` : answer.label;
  const bars = Object.entries(answer.probabilities)
    .sort((a, b) => b[1] - a[1])
    .slice(0, 5)
    .map(([label, share], i) => {
      const fill = h("span", { className: "fill" });
      fill.style.width = `${100 * share}%`;
      return h("li", { className: i ? "" : "best" }, h("span", {}, label), h("span", { className: "track" }, fill), h("span", { className: "value" }, percent(share)));
    });
  const notes = [...answer.reasons, ...answer.notes].map((text) => h("p", { className: "small note" }, text));
  $("answer").replaceChildren(h("h3", { className: answer.abstained ? "warn" : "" }, title), h("ul", { className: "bars" }, ...bars), ...notes);
}

async function live() {
  if (stop) return stop();
  try {
    const off = await watching($("try-video"));
    let isOn = true;
    stop = () => {
      isOn = false;
      off();
      stop = null;
      $("try-video").hidden = true;
      $("camera-live").textContent = "Use the camera";
      $("answer").setAttribute("aria-live", "polite");
    };
    $("tried").hidden = $("try-video").hidden = false;
    $("try-image").hidden = $("try-look").hidden = true;
    $("camera-live").textContent = "Stop the camera";
    $("answer").setAttribute("aria-live", "off"); // ten answers a second are no speech
    const times = [];
    while (isOn) {
      const answer = await ask(await frame($("try-video"), LIVE_PX), false);
      if (!isOn) break;
      times.push(performance.now());
      if (times.length > 20) times.shift();
      tell(answer);
      const rate = times.length > 5 ? (1000 * (times.length - 1)) / (times.at(-1) - times[0]) : 0;
      $("answer").append(h("p", { className: "small", id: "rate" }, rate ? `${rate.toFixed(0)} answers a second` : ""));
    }
  } catch (error) {
    stop?.();
    trouble(error);
  }
}

$("try-image").addEventListener("error", () => ($("try-image").hidden = true)); // HEIC, which few browsers show
$("choose-try").addEventListener("click", () => $("try-file").click());
$("try-file").addEventListener("change", () => {
  if ($("try-file").files[0]) tryFile($("try-file").files[0]);
  $("try-file").value = "";
});
$("camera-live").addEventListener("click", live);
$("try").addEventListener("drop", (event) => {
  const [file] = event.dataTransfer?.files ?? [];
  if (!file || $("trying").hidden) return;
  event.preventDefault();
  event.stopPropagation();
  document.body.classList.remove("dragging");
  tryFile(file);
});
