// A model card's Markdown as elements: headings, lists, tables, paragraphs, code. No links, no HTML, no pictures.

import { h } from "./dom.js";

const CELL = /(?<!\\)\|/;

export function render(markdown) {
  const page = document.createDocumentFragment();
  const lines = markdown.split(/\r?\n/);
  let i = 0;
  const take = (test) => {
    const found = [];
    while (i < lines.length && test(lines[i])) found.push(lines[i++]);
    return found;
  };
  while (i < lines.length) {
    const line = lines[i];
    const heading = /^(#{1,5})\s+(.*)$/.exec(line);
    if (!line.trim()) i++;
    else if (heading) {
      page.append(h(`h${heading[1].length + 1}`, {}, ...inline(heading[2])));
      i++;
    } else if (/^\s*[-*]\s/.test(line)) {
      const items = take((each) => /^\s*[-*]\s/.test(each));
      page.append(h("ul", {}, ...items.map((item) => h("li", {}, ...inline(item.replace(/^\s*[-*]\s+/, ""))))));
    } else if (line.startsWith("|")) page.append(table(take((each) => each.startsWith("|"))));
    else {
      const first = lines[i++];
      const rest = take((each) => each.trim() && !/^(#{1,5}\s|\s*[-*]\s|\|)/.test(each));
      page.append(h("p", {}, ...inline([first, ...rest].join(" "))));
    }
  }
  return page;
}

function table(lines) {
  const rows = lines.filter((line) => !/^\|[\s:|-]+$/.test(line)).map((line) => line.trim().replace(/^\||\|$/g, "").split(CELL));
  const [head, ...body] = rows.map((cells) => cells.map((cell) => inline(cell.trim())));
  const row = (cells, first, scope) =>
    h("tr", {}, ...cells.map((cell, n) => (n && !first ? h("td", {}, ...cell) : h("th", { scope }, ...cell))));
  const all = h("table", {}, h("thead", {}, row(head, true, "col")), h("tbody", {}, ...body.map((each) => row(each, false, "row"))));
  return h("div", { className: "scroll", tabindex: "0", role: "region", "aria-label": "Table" }, all);
}

function inline(text) {
  return text.split(/(`[^`]*`)/).filter(Boolean).map((part) =>
    part.length > 1 && part.startsWith("`") && part.endsWith("`") ? h("code", {}, part.slice(1, -1)) : plain(part),
  );
}

const ENTITIES = { "&lt;": "<", "&gt;": ">", "&amp;": "&" };
const plain = (text) => text.replace(/\\([^\w\s])/g, "$1").replace(/&(?:lt|gt|amp);/g, (entity) => ENTITIES[entity]);
