// Pictures by search, from collections that lend them; and whose they are.

import { call, small } from "./api.js";
import { $, count, h, openDialog } from "./dom.js";
import { trouble } from "./trouble.js";

const TITLES = { by: "CC BY", "by-sa": "CC BY-SA", "by-nd": "CC BY-ND", "by-nc": "CC BY-NC", "by-nc-sa": "CC BY-NC-SA", "by-nc-nd": "CC BY-NC-ND", cc0: "CC0", pdm: "public domain", unknown: "licence unknown" };

let name = "";
let shown = "";

export async function search(of) {
  name = of;
  $("gather-title").textContent = `Search pictures for ${name}`;
  $("gather-words").value = name;
  const closed = openDialog($("gather-dialog"));
  $("gather-words").select();
  await closed;
}

$("gather-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const asked = Object.fromEntries(new FormData($("gather-form")));
  $("gather-dialog").close();
  try {
    await call("gather", { json: { ...asked, count: Number(asked.count), class: name } });
    trouble(null);
  } catch (error) {
    trouble(error);
  }
});

export function show({ gathered, job }) {
  const isAtIt = job?.what === "gather" && job.status === "running";
  if (isAtIt) $("progress").textContent = `Searching: ${job.stage}${job.total ? `, ${job.done} of ${job.total}` : ""} …`;
  const now = JSON.stringify([gathered, job?.what === "gather" && job.status]);
  if (now === shown) return;
  shown = now;
  if (job?.what === "gather" && !isAtIt) {
    const added = job.status === "done" ? `${count(gathered?.pictures.length ?? 0, "picture")} found and added to ${gathered?.class}.` : "";
    $("progress").textContent = added || `The search ended: ${job.error || "it was cancelled."}`;
  }
  $("found").hidden = !gathered?.pictures.length;
  if (!gathered) return;
  $("found").querySelector("summary").textContent = `${count(gathered.pictures.length, "picture")} of ${gathered.class} from the last search, and whose they are`;
  $("found").querySelector("p").textContent = `Look at them: a search only guesses. Their licences, as the service tells them, are kept in ${gathered.folder}.`;
  $("found").querySelector("ul").replaceChildren(...gathered.pictures.map(credit));
}

// Addresses come from the service, so only those of the web become links.
function credit({ file, title, creator, licence, landing_page: page }) {
  const words = `${title || "without a title"}${creator ? `, by ${creator}` : ""}`;
  const named = /^https?:\/\//.test(page) ? h("a", { href: page, target: "_blank", rel: "noopener noreferrer" }, words) : words;
  return h("li", {}, h("img", { src: small(file), alt: "", loading: "lazy" }), h("span", {}, named, h("br"), h("b", {}, TITLES[licence] ?? licence)));
}
