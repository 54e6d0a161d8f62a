// What went wrong, where everyone sees and hears it: it stays in sight while one scrolls.

import { $ } from "./dom.js";

export function trouble(error) {
  $("trouble").hidden = !error;
  $("trouble").textContent = error?.message ?? "";
}
