// What a model can be taken away as.

import { Refused } from "./api.js";
import { $, button, h } from "./dom.js";
import { trouble } from "./trouble.js";

let shown = "";

export function show({ models }) {
  $("no-take").hidden = models.length > 0;
  $("taking").hidden = !models.length;
  const name = models.at(-1)?.name;
  if (!name || name === shown) return;
  shown = name;
  const link = (what, text) => h("a", { className: "button", href: `api/models/${name}/${what}`, download: "" }, text);
  const entry = (title, text, ...rest) => [h("dt", {}, title), h("dd", {}, h("p", {}, text), ...rest)];
  $("taking").replaceChildren(
    h("p", {}, `This is model ${name}, the latest.`),
    h(
      "dl",
      {},
      ...entry("The model, signed", "All that answering needs, with its report and a signature. The key beside it shows that nobody changed it.", link("bundle", "Download the model")),
      ...entry("A page for anybody", "One file with the model inside. Whoever opens it in a browser gets answers, without a network and without installing anything; pictures stay on their machine. The first one takes a download of 33 MB.", pageButton(name)),
      ...entry("For other programs", "The network alone, in the format ONNX.", link("onnx", "Download ONNX")),
      ...entry("For a server", "The files that build a container which answers over HTTP.", link("containers", "Download container files"), h("p", { className: "small" }, "Then send it a picture:"), h("pre", {}, h("code", {}, "curl --data-binary @picture.jpg http://localhost:8000/v1/predict"))),
    ),
  );
}

// Asked for by script, as it may be refused for want of a network, which a link would not say.
function pageButton(name) {
  const make = button("Make the page", async () => {
    make.disabled = true;
    make.textContent = "Making the page …";
    try {
      const response = await fetch(`api/models/${name}/page`, { cache: "no-store" });
      if (!response.ok) throw new Refused((await response.json()).error.message);
      const link = h("a", { href: URL.createObjectURL(await response.blob()), download: `keensight-model-${name}.html` });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      trouble(null);
    } catch (error) {
      trouble(error);
    }
    make.disabled = false;
    make.textContent = "Make the page";
    make.focus();
  });
  return make;
}
