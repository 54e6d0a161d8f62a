// A picture beside the model's answer.

import { $, announce, button, count, h, percent } from "./dom.js";

const BEST = 10; // bars shown of a model with many classes
const FAINT = 0.5; // points of log-odds: smaller changes are hardly coloured
const TINY_PX = 100; // narrower pictures are shown larger, pixel by pixel
let made = 0;

// Points of log-odds as a factor of odds.
const times = (points) => (points > 6.9 ? "over 1,000" : Number(Math.exp(points).toPrecision(2)));

// `server` has explain(blob, label), which resolves to a picture's blob and the largest drop that it shows, and
// verdict(id, right, label).
export class Card {
  constructor(server, { tag = "li", name = "", picture = null } = {}) {
    this.server = server;
    this.urls = [];
    this.name = name;
    this.image = h("img", { alt: name ? `Your picture ${name}` : "The picture that was sent", decoding: "async" });
    this.image.addEventListener("error", () => this.figure.replaceChildren(h("p", { className: "small" }, "No preview")));
    this.image.addEventListener("load", () => this.figure.classList.toggle("tiny", this.image.naturalWidth < TINY_PX));
    this.figure = h("div", { className: "picture" }, this.image);
    this.title = h("h3", { tabindex: "-1", id: `answer-${++made}` });
    this.body = h("div", { className: "answer" });
    this.node = h(tag, { className: "card", "aria-labelledby": this.title.id }, this.figure, this.body);
    if (picture) this.show(picture);
    this.wait();
  }

  show(blob) {
    this.release();
    this.image.src = this.url(blob);
    this.figure.replaceChildren(this.image);
    this.figure.classList.remove("heated");
  }

  url(blob) {
    this.urls.push(URL.createObjectURL(blob));
    return this.urls.at(-1);
  }

  release() {
    for (const url of this.urls.splice(0)) URL.revokeObjectURL(url);
  }

  head(text, ...more) {
    this.title.textContent = text;
    this.body.replaceChildren(this.title, ...more);
  }

  file(...more) {
    return h("p", { className: "small file" }, [this.name, ...more].filter(Boolean).join(" · "));
  }

  wait(text = "Looking …") {
    this.node.className = "card waiting";
    this.head(text, this.file());
  }

  fail(error, retry) {
    this.node.className = "card failed";
    this.head("No answer", h("p", {}, error.message), this.file());
    if (!error.again || !retry) return;
    const again = () => {
      this.title.focus();
      retry();
    };
    this.body.append(h("p", { className: "buttons" }, button("Try again", again)));
  }

  // `blob` is the picture as it was sent.
  answer(prediction, { labels, fit, blob, ms, keep, explains, by = "", copied = false }) {
    this.node.className = prediction.abstained ? "card unsure" : "card";
    this.figure.dataset.fit = fit ?? "squash";
    const guess = percent(prediction.probability);
    if (isNone(prediction)) {
      this.head("None of these", h("p", { className: "guess" }, "It is unlike anything that the model has learnt. The nearest is ", h("b", {}, prediction.label), "."));
    } else if (prediction.abstained) {
      this.head("Not sure", h("p", { className: "guess" }, "Best guess: ", h("b", {}, prediction.label), `, ${guess}`));
    } else {
      this.head(prediction.label);
      this.title.append(" ", h("span", { className: "sure" }, guess));
    }
    const notes = (prediction.notes ?? []).map((note) => `This picture ${note}.`);
    if (copied) notes.push("This server does not take the file as it is, so a JPEG copy was sent.");
    const files = this.file(by, ms === undefined ? "" : `${Math.max(1, Math.round(ms))} ms`);
    this.body.append(...bars(prediction), ...notes.map((note) => h("p", { className: "small note" }, note)));
    if (explains) this.body.append(this.heatButton(blob, prediction.label));
    if (keep) this.body.append(this.verdict(prediction, labels));
    this.body.append(files);
  }

  heatButton(blob, label) {
    const legend = h("p", { className: "small legend" });
    let shown = "";
    const toggle = button("Show what it looked at", async () => {
      if (toggle.getAttribute("aria-pressed") === "true") return set(false);
      if (toggle.getAttribute("aria-disabled")) return;
      toggle.setAttribute("aria-disabled", "true");
      legend.textContent = "Looking at the picture piece by piece …";
      try {
        this.heat ??= h("img", { className: "heat", alt: `Heat map of the answer ${label}` });
        const { overlay, largest, inverted } = await this.server.explain(blob, label);
        this.heat.src = this.url(overlay);
        shown = largest < FAINT
          ? `No part stands out: none by itself changes the odds of “${label}” much.`
          : `Blue speaks for “${label}”: without it, that would be less likely. Orange speaks against it. The strongest colour changes the odds ${times(largest)} times.`;
        if (inverted) shown += " The model saw this picture's negative.";
        await this.heat.decode();
        set(true);
        announce(legend.textContent);
      } catch (error) {
        legend.textContent = error.message || "The heat map cannot be shown.";
        announce(legend.textContent);
      } finally {
        toggle.removeAttribute("aria-disabled");
      }
    });
    const set = (on) => {
      toggle.setAttribute("aria-pressed", String(on));
      this.figure.classList.toggle("heated", on);
      if (on) this.figure.append(this.heat);
      else this.heat.remove();
      legend.textContent = on ? shown : "";
    };
    toggle.setAttribute("aria-pressed", "false");
    return h("div", { className: "look" }, toggle, legend);
  }

  verdict({ id, label: said }, labels) {
    const box = h("div", { className: "verdict-box", role: "group", "aria-label": `Was “${said}” right?` });
    const send = async (right, label) => {
      try {
        await this.server.verdict(id, right, label);
        const thanks = h("p", { className: "small", tabindex: "-1" }, "Thank you, noted.");
        box.replaceChildren(thanks);
        thanks.focus();
      } catch (error) {
        problem.textContent = error.message;
        announce(error.message);
      }
    };
    const problem = h("p", { className: "small" });
    const no = () => {
      const others = labels.filter((each) => each !== said);
      const what = h("select", { id: `${this.title.id}-is` }, h("option", { value: "" }, "choose …"));
      what.append(...others.map((each, i) => h("option", { value: i }, each)), h("option", { value: "else" }, "something else"));
      const send_ = button("Send", () => send(false, others[what.value] ?? null));
      send_.disabled = true;
      what.addEventListener("change", () => (send_.disabled = what.value === ""));
      box.replaceChildren(h("label", { for: what.id }, "What is it?"), what, send_, problem);
      what.focus();
    };
    box.append(h("span", {}, "Was this right?"), button("Yes", () => send(true, null)), button("No", no), problem);
    return box;
  }
}

function bars({ probabilities, label, abstained }) {
  const all = Object.entries(probabilities).sort(([, a], [, b]) => b - a);
  const list = h("ol", { className: "bars", "aria-label": "All classes, the likeliest first" });
  const row = ([name, p]) => {
    const fill = h("span", { className: "fill" });
    fill.style.width = `${100 * p}%`;
    const track = h("span", { className: "track", "aria-hidden": "true" }, fill);
    const best = name === label && !abstained;
    return h("li", best ? { className: "best" } : {}, h("span", { className: "name" }, name), track, h("span", { className: "value" }, percent(p)));
  };
  list.append(...all.slice(0, BEST).map(row));
  if (all.length <= BEST) return [list];
  const more = button(`Show all ${count(all.length, "class").replace("classs", "classes")}`, () => {
    const open = more.getAttribute("aria-expanded") !== "true";
    list.replaceChildren(...(open ? all : all.slice(0, BEST)).map(row));
    more.setAttribute("aria-expanded", String(open));
    more.textContent = open ? "Show the ten likeliest" : closed;
  }, "link");
  const closed = more.textContent;
  more.setAttribute("aria-expanded", "false");
  return [list, more];
}

const isNone = ({ reasons }) => (reasons ?? []).some((reason) => reason.startsWith("none of these"));

export function spoken(name, prediction) {
  const { label, probability, abstained } = prediction;
  if (isNone(prediction)) return `${name ? `${name}: ` : ""}none of these, the nearest is ${label}`;
  const answer = abstained ? `not sure, best guess ${label}` : label;
  return `${name ? `${name}: ` : ""}${answer}, ${percent(probability)}`;
}
