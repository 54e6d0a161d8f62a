// The studio's page: shows the state, and lets each part do its own.

import { call, follow } from "./api.js";
import { show as showCheck } from "./check.js";
import { show as showClasses } from "./collect.js";
import { $, announce } from "./dom.js";
import { show as showGathered } from "./gather.js";
import { show as showTake } from "./take.js";
import { show as showTrain } from "./train.js";
import { show as showTry } from "./try.js";
import { trouble } from "./trouble.js";

function show(state) {
  $("folder").textContent = `Your pictures lie in ${state.folder}`;
  $("undo").disabled = !state.undo;
  $("undo").textContent = state.undo ? `Undo ${state.undo}` : "Undo";
  for (const part of [showClasses, showGathered, showCheck, showTrain, showTry, showTake]) part(state);
}

$("undo").addEventListener("click", async () => {
  try {
    const { undone } = await call("undo", { json: {} });
    announce(`Taken back: ${undone}`);
  } catch (error) {
    trouble(error);
  }
});

let isLost = false;
follow(
  (state) => {
    if (isLost) trouble(null);
    isLost = false;
    show(state);
  },
  (error) => {
    isLost = true;
    trouble(error);
  },
);
