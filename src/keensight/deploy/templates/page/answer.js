// What the model says about a picture, as keensight.inference does it: perhaps inverted, and perhaps none of its labels.

import { border, quantile } from "./resize.js";

const [DARK, LIGHT] = [0.45, 0.55];

export async function opened(ort, model, wasm) {
  ort.env.wasm.numThreads = 1; // more would need headers that a file does not have
  ort.env.wasm.wasmBinary = wasm;
  ort.env.logLevel = "error";
  return ort.InferenceSession.create(model, { executionProviders: ["wasm"] });
}

export async function answered(ort, session, picture, facts) {
  const { height, width, channels } = facts;
  const seen = matched(picture, facts.borders);
  const images = new ort.Tensor("uint8", seen.data, [1, height, width, channels]);
  const said = await session.run({ images });
  const shares = Array.from(said.probabilities.data);
  const notes = seen === picture ? [] : ["It was inverted: it is light where all training pictures are dark, or the other way round."];
  const reasons = [];
  const { rejector, labels } = facts;
  if (rejector && !(said.oddness.data[0] <= rejector.threshold)) {
    if (rejector.catch_all === null) reasons.push("none");
    else {
      const rest = labels.indexOf(rejector.catch_all);
      for (const i of shares.keys()) shares[i] *= 1 - rejector.coverage;
      shares[rest] += 1 - shares.reduce((a, b) => a + b, 0);
      notes.push("It is unlike anything that the model has learnt, so it gets the label for all the rest.");
    }
  }
  if (isBlank(picture, facts.blank_levels)) reasons.push("blank");
  const top = shares.indexOf(Math.max(...shares));
  if (shares[top] < facts.abstain_below) reasons.push("unsure");
  return { label: labels[top], share: shares[top], shares, reasons, notes };
}

function isBlank({ data, channels }, least) {
  for (let c = 0; c < channels; c++) {
    let [low, high] = [255, 0];
    for (let i = c; i < data.length; i += channels) [low, high] = [Math.min(low, data[i]), Math.max(high, data[i])];
    if (high - low >= least) return false;
  }
  return true;
}

// keensight.data.polarity: a drawing that is light where all training drawings are dark is inverted, and its ground removed.
function matched(picture, { low, high, inverts }) {
  if (!inverts) return picture;
  const ring = border(picture).flat();
  const level = ring.reduce((a, b) => a + b, 0) / ring.length / 255;
  if (!((level > LIGHT && high < DARK) || (level < DARK && low > LIGHT)) || !isGrey(picture)) return picture;
  const negative = { ...picture, data: picture.data.map((each) => 255 - each) };
  if (low <= 0.1) return stretched(negative, high > 0.1);
  if (high < 0.9) return negative;
  const light = stretched(picture, low < 0.9);
  return { ...light, data: light.data.map((each) => 255 - each) };
}

function isGrey({ data, channels }) {
  return channels === 1 || data.every((each, i) => each === data[i - (i % channels)]);
}

function stretched(picture, touches) {
  const ground = quantile(border(picture).flat(), touches ? 0.25 : 0.95);
  const contrast = picture.data.reduce((a, b) => Math.max(a, b), 0) - ground;
  if (contrast < 25 || (touches && ground < 8)) return picture;
  const level = (each) => Math.trunc(Math.min(255, Math.max(0, (each - ground) * (255 / contrast))));
  return { ...picture, data: picture.data.map(level) };
}
