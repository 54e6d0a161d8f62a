// What went wrong, where everyone sees and hears it.

import { $ } from "./dom.js";

export function trouble(error) {
  $("trouble").hidden = !error;
  $("trouble").textContent = error?.message ?? "";
  if (error) $("trouble").scrollIntoView({ block: "nearest" });
}
