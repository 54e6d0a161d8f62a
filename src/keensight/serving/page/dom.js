// Elements from code. Text goes in as text, never as HTML: labels, file names and model cards are not to be trusted.

export const $ = (id) => document.getElementById(id);

export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "className" || name === "textContent" || typeof value === "boolean") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export function button(text, onclick, className = "") {
  return h("button", { type: "button", className, onclick }, text);
}

const live = $("live");
export function announce(text) {
  live.textContent = "";
  setTimeout(() => (live.textContent = text), 50); // the same text twice is read twice
}

export function percent(p) {
  if (p > 0 && p < 0.0005) return "< 0.1\u202f%";
  if (p > 0.9995) return "> 99.9\u202f%";
  return `${(100 * p).toFixed(1)}\u202f%`;
}

export const count = (n, noun) => `${n.toLocaleString("en")} ${noun}${n === 1 ? "" : "s"}`;

// Opens a dialog and resolves when it is closed, however that happens.
export function openDialog(dialog) {
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(), { once: true });
    dialog.showModal();
  });
}

for (const dialog of document.querySelectorAll("dialog")) {
  for (const each of dialog.querySelectorAll("[data-close]")) each.addEventListener("click", () => dialog.close());
}
