// Classes, and pictures into them: dropped folders, files and zips, chosen files, pasted pictures, the camera.

import { call, small } from "./api.js";
import { takePictures } from "./camera.js";
import { $, announce, button, count, h } from "./dom.js";
import { search } from "./gather.js";
import { open } from "./grid.js";
import { trouble } from "./trouble.js";

const AT_ONCE = 4;
const SHOWN = 5;
const ENOUGH = 10; // pictures of a class, under which the page asks for more
const ARCHIVE = /\.(zip|tar|tgz|tar\.gz)$/i;
const SIZE_PX = 1600; // camera

let latest = null;
let shown = "";

export function show(state) {
  latest = state;
  const now = JSON.stringify(state.classes);
  if (now === shown) return;
  shown = now;
  const focused = document.activeElement?.dataset?.key;
  $("classes").replaceChildren(...state.classes.map(card));
  if (focused) document.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}

function card({ name, count: number }) {
  const input = h("input", { type: "file", accept: "image/*", multiple: true, hidden: true, "aria-label": `Pictures of ${name}` });
  input.addEventListener("change", () => {
    add([...input.files].map((file) => ({ file, name })));
    input.value = "";
  });
  const keyed = (element, what) => {
    element.dataset.key = `${name}/${what}`;
    element.setAttribute("aria-label", `${element.textContent}: ${name}`);
    return element;
  };
  const strip = h("div", { className: "strip" });
  if (number) fill(strip, name);
  const item = h(
    "li",
    {},
    h("h3", {}, name),
    h("p", { className: number < ENOUGH ? "small warn" : "small" }, number < ENOUGH ? `${count(number, "picture")}; more are needed` : count(number, "picture")),
    strip,
    h(
      "p",
      { className: "buttons" },
      keyed(button("Add pictures", () => input.click()), "add"),
      keyed(button("Camera", () => camera(name).then(() => back(name, "camera"))), "camera"),
      keyed(button("Search", () => search(name).then(() => back(name, "search"))), "search"),
      keyed(button("See all", () => open(name, latest).then(() => back(name, "look"))), "look"),
      keyed(button("Rename", () => rename(name)), "rename"),
    ),
    input,
  );
  item.dataset.name = name;
  return item;
}

// To the button that opened a dialog, which may have been drawn anew meanwhile.
const back = (name, what) => document.querySelector(`[data-key="${CSS.escape(`${name}/${what}`)}"]`)?.focus();

async function fill(strip, name) {
  const { files } = await call("pictures", { query: { class: name } }).catch(() => ({ files: [] }));
  strip.replaceChildren(...files.slice(-SHOWN).map((file) => h("img", { src: small(`${name}/${file}`), alt: "", loading: "lazy" })));
}

async function rename(name) {
  const wished = prompt(`Another name for ${name}`, name)?.trim();
  if (wished && wished !== name) await attempt(() => call("classes/rename", { json: { name, new: wished } }));
}

async function attempt(work) {
  try {
    const done = await work();
    trouble(null);
    return done;
  } catch (error) {
    trouble(error);
    return null;
  }
}

$("new-class").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = $("class-name").value.trim();
  if (await attempt(() => call("classes", { json: { name } }))) {
    $("class-name").value = "";
    announce(`Class ${name} is there.`);
  }
});

// ---- adding ---------------------------------------------------------------------------------------------------------

// Each job is a file and the class that it goes into. Archives have classes of their own if they are given none.
export async function add(jobs) {
  const archives = jobs.filter(({ file }) => ARCHIVE.test(file.name));
  const files = jobs.filter(({ file }) => !ARCHIVE.test(file.name));
  const refused = [];
  const paths = [];
  let done = 0;
  let added = 0;
  const tell = () => ($("progress").textContent = `${done} of ${count(jobs.length, "file")} …`);
  const next = files[Symbol.iterator]();
  const worker = async () => {
    for (const { file, name } of next) {
      try {
        paths.push((await call("pictures", { body: file, query: { class: name, file: file.name } })).path);
        added++;
      } catch (error) {
        refused.push([file.name, error.message]);
      }
      done++;
      tell();
    }
  };
  tell();
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  if (paths.length) await attempt(() => call("added", { json: { paths } }));
  for (const { file, name } of archives) {
    $("progress").textContent = `Unpacking ${file.name} …`;
    try {
      const found = await call("archive", { body: file, query: { class: name, file: file.name } });
      added += found.added;
      refused.push(...found.refused);
    } catch (error) {
      refused.push([file.name, error.message]);
    }
  }
  const said = `${count(added, "picture")} added${refused.length ? `, ${refused.length} refused` : ""}.`;
  $("progress").textContent = said;
  announce(said);
  $("refused").hidden = !refused.length;
  $("refused").querySelector("summary").textContent = `${count(refused.length, "file")} refused, and why`;
  $("refused").querySelector("ul").replaceChildren(...refused.slice(0, 200).map(([name, why]) => h("li", {}, h("b", {}, name), ` ${why}`)));
}

// Files in dropped folders, each with the name of the folder that it lies in.
async function within(entry, folder) {
  if (entry.isFile) return [{ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), name: folder }];
  const reader = entry.createReader();
  const found = [];
  for (;;) {
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) break;
    for (const each of entries) if (!each.name.startsWith(".")) found.push(...(await within(each, entry.name)));
  }
  return found;
}

async function dropped(event) {
  const target = event.target.closest?.("[data-name]")?.dataset.name;
  const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const jobs = entries.length
    ? (await Promise.all(entries.map((entry) => within(entry, undefined)))).flat()
    : [...event.dataTransfer.files].map((file) => ({ file, name: undefined }));
  give(jobs, target);
}

// Pictures that lie in no folder go where they were dropped, or into the only class there is.
function give(jobs, target) {
  const only = latest?.classes.length === 1 ? latest.classes[0].name : undefined;
  const known = jobs.map(({ file, name }) => ({ file, name: target ?? name ?? (ARCHIVE.test(file.name) ? undefined : only) }));
  if (known.some(({ file, name }) => !name && !ARCHIVE.test(file.name))) {
    trouble(new Error("Drop pictures on a class, or a folder anywhere: it becomes a class of its name."));
    return;
  }
  add(known);
}

const isFiles = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragover", (event) => {
  if (!isFiles(event)) return;
  event.preventDefault();
  document.body.classList.add("dragging");
  for (const each of document.querySelectorAll(".over-class")) each.classList.remove("over-class");
  event.target.closest?.("[data-name]")?.classList.add("over-class");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dragging");
});
document.addEventListener("drop", (event) => {
  document.body.classList.remove("dragging");
  for (const each of document.querySelectorAll(".over-class")) each.classList.remove("over-class");
  if (!isFiles(event) || event.target.closest?.("#trying")) return;
  event.preventDefault();
  attempt(() => dropped(event));
});
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length) return;
  event.preventDefault();
  give(files.map((file) => ({ file, name: undefined })), document.activeElement?.closest?.("[data-name]")?.dataset.name);
});
$("choose-folder").addEventListener("click", () => $("folder-files").click());
$("folder-files").addEventListener("change", () => {
  const seen = [...$("folder-files").files].filter((file) => !/(^|\/)\./.test(file.webkitRelativePath));
  give(seen.map((file) => ({ file, name: file.webkitRelativePath.split("/").at(-2) })));
  $("folder-files").value = "";
});
$("choose-zip").addEventListener("click", () => $("zip").click());
$("zip").addEventListener("change", () => {
  add([...$("zip").files].map((file) => ({ file, name: undefined })));
  $("zip").value = "";
});

async function camera(name) {
  const taken = [];
  await attempt(() => takePictures(SIZE_PX, (file) => taken.push({ file, name })));
  if (taken.length) add(taken);
}
