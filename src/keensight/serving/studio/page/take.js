// What a model can be taken away as.

import { $, h } from "./dom.js";

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
      ...entry("For other programs", "The network alone, in the format ONNX.", link("onnx", "Download ONNX")),
      ...entry("For a server", "The files that build a container which answers over HTTP.", link("containers", "Download container files"), h("p", { className: "small" }, "Then send it a picture:"), h("pre", { tabindex: "0" }, h("code", {}, "curl --data-binary @picture.jpg http://localhost:8000/v1/predict"))),
    ),
  );
}
