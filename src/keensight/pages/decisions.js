// Decisions on an audit's page: buttons below each picture, and the file that `keensight clean` reads.
// It speaks to no server: what was decided is kept in this tab until it is saved.

const made = new Map(); // by file: the decision, as a line of the file
const cards = [...document.querySelectorAll(".card")];
const bar = document.getElementById("decisions");
const labels = JSON.parse(document.getElementById("labels").textContent);
const splits = JSON.parse(document.getElementById("splits").textContent);
let saved = true;

// What is pasted may hold tabs and line separators; `keensight clean` takes text on one line, of 2,000 characters.
function oneLine(text) {
  return text.replace(/[\s\u0000-\u001f\u007f-\u009f]+/g, " ").trim().slice(0, 2000);
}

function decide(card, action, more = {}) {
  const { file, sha256 } = card.dataset;
  const why = oneLine(document.getElementById("why").value) || oneLine(more.why ?? "");
  const who = oneLine(document.getElementById("who").value);
  const when = new Date().toISOString().slice(0, 19) + "+00:00";
  made.set(file, { sha256, action, file, ...more, why, who, when });
  show();
}

function show() {
  saved = made.size === 0;
  for (const card of cards) {
    const decision = made.get(card.dataset.file);
    card.classList.toggle("dropped", decision?.action === "drop");
    for (const button of card.querySelectorAll("button[data-action]")) {
      const same = decision?.action === button.dataset.action && (decision.label ?? "") === (button.dataset.label ?? "");
      button.setAttribute("aria-pressed", String(same));
    }
    const select = card.querySelector("select");
    if (select) select.value = decision?.split ? `split ${decision.split}` : decision?.action === "relabel" ? `label ${decision.label}` : "";
  }
  const count = made.size;
  document.getElementById("count").textContent =
    count === 0 ? "Nothing is decided yet." : `${count} picture${count === 1 ? " is" : "s are"} decided.`;
  document.getElementById("save").disabled = count === 0;
}

function button(text, action, name, more, press) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.dataset.action = action;
  if (more.label) made.dataset.label = more.label;
  made.setAttribute("aria-label", `${text}: ${name}`);
  made.setAttribute("aria-pressed", "false");
  made.addEventListener("click", press);
  return made;
}

function option(value, text) {
  const made = document.createElement("option");
  made.value = value;
  made.textContent = text;
  return made;
}

function equip(card) {
  const { file, label, suggested, split } = card.dataset;
  const line = document.createElement("div");
  line.className = "decide";
  const choices = suggested
    ? [[`It is ${label}`, "confirm", {}], [`It is ${suggested}`, "relabel", { label: suggested }], ["Drop", "drop", {}]]
    : [["Keep", "keep", {}], ["Drop", "drop", {}]];
  for (const [text, action, more] of choices) {
    line.append(
      button(text, action, file, more, (event) => {
        if (event.currentTarget.getAttribute("aria-pressed") === "true") {
          made.delete(file);
          show();
        } else decide(card, action, more);
      }),
    );
  }
  const select = document.createElement("select");
  select.setAttribute("aria-label", `Another label or split: ${file}`);
  select.append(option("", "change to …"));
  for (const other of labels) if (other !== label) select.append(option(`label ${other}`, `label ${other}`));
  for (const other of splits) if (other !== split) select.append(option(`split ${other}`, `split ${other}`));
  select.addEventListener("change", () => {
    const [what, ...rest] = select.value.split(" ");
    const value = rest.join(" ");
    if (what === "label") decide(card, "relabel", { label: value });
    else if (what === "split") decide(card, "move", { split: value });
    else {
      made.delete(file);
      show();
    }
  });
  line.append(select);
  card.append(line);
}

function equipPair(pair) {
  const [left, right] = pair.querySelectorAll(".card");
  const line = document.createElement("div");
  line.className = "decide both";
  const name = `${left.dataset.file} and ${right.dataset.file}`;
  const dropped = (gone, stays) => () => decide(gone, "drop", { why: `the same picture as ${stays.dataset.file}` });
  const choices = [
    ["Same picture: drop the left one", dropped(left, right)],
    ["Same picture: drop the right one", dropped(right, left)],
    ["Both stay", () => [left, right].forEach((card) => decide(card, "keep"))],
  ];
  for (const [text, press] of choices) {
    const plain = button(text, "", name, {}, press);
    plain.removeAttribute("data-action");
    plain.removeAttribute("aria-pressed");
    line.append(plain);
  }
  pair.after(line);
}

// For labels that come from a search: what is wrong is dropped one by one, and the rest is right.
function equipAll(place) {
  const all = [...place.parentElement.querySelectorAll(".card")];
  const press = () => {
    for (const card of all) if (!made.has(card.dataset.file)) decide(card, "confirm");
  };
  const plain = button(`Confirm the ${all.length} below, but for those decided on`, "", "labels", {}, press);
  plain.removeAttribute("data-action");
  plain.removeAttribute("aria-pressed");
  plain.removeAttribute("aria-label");
  place.classList.add("decide");
  place.append(plain);
}

function save() {
  const lines = [...made.values()].map((decision) => {
    const said = Object.entries(decision).filter(([, value]) => value);
    return JSON.stringify(Object.fromEntries(said)) + "\n";
  });
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(lines, { type: "application/jsonl" }));
  link.download = "decisions.jsonl";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  saved = true;
  document.getElementById("count").textContent = `Saved ${lines.length}. Next: ${bar.dataset.next}`;
}

if (cards.length) {
  cards.forEach(equip);
  document.querySelectorAll(".side").forEach((side) => side.querySelectorAll(".card").length === 2 && equipPair(side));
  document.querySelectorAll(".confirm").forEach(equipAll);
  document.getElementById("save").addEventListener("click", save);
  addEventListener("beforeunload", (event) => saved || event.preventDefault());
  bar.hidden = false;
  show();
}
