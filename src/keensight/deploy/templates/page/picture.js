// From a picture file to the bytes that the model takes, as keensight.data.pixels does it: upright, on white, resized.

import { decodedSmall } from "./jpeg.js";
import { averaged, resized } from "./resize.js";

const MOST_PIXELS = 80e6;
const FRAMES = new Set([0xc0, 0xc1, 0xc2]);
const KEPT = new Set([0xe0, 0xee]); // JFIF, and Adobe's note of what the channels are

export async function asSeen(file, { height, width, channels, fit }) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  if (isDeep(bytes)) throw new Error("It has 16 bits for each level, of which a browser sees 8. Save it with 8.");
  if (bytes[0] !== 0xff || bytes[1] !== 0xd8) return resized(await decoded(file, channels), width, height, fit);
  const { kept, orientation, size } = segments(bytes);
  // libjpeg is asked to decode at 1/2, 1/4 or 1/8 where twice what is needed is left
  const spare = Math.min(...size.map((each) => Math.floor(each / (2 * Math.max(height, width)))));
  const by = [8, 4, 2].find((each) => spare >= each);
  let picture = by && size[0] * size[1] <= MOST_PIXELS ? small(bytes, by, channels) : null;
  if (!picture) {
    picture = await decoded(new Blob(kept, { type: "image/jpeg" }), channels);
    if (by) picture = averaged(picture, by, by);
  }
  return resized(turned(picture, orientation), width, height, fit);
}

function small(bytes, by, channels) {
  try {
    return decodedSmall(bytes, by, channels);
  } catch {
    return null; // damaged: the browser may know more
  }
}

async function decoded(file, channels) {
  const bitmap = await createImageBitmap(file, { colorSpaceConversion: "none" }).catch(() => {
    throw new Error("This browser cannot read it as a picture. Save it as JPEG or PNG.");
  });
  if (bitmap.width * bitmap.height > MOST_PIXELS) throw new Error("It has more than 80 megapixels. Make it smaller.");
  const picture = pixels(bitmap, channels);
  bitmap.close();
  return picture;
}

// 16 bits a level, in a PNG's header.
const isDeep = (bytes) => bytes[0] === 0x89 && bytes[1] === 0x50 && bytes[24] === 16;

function pixels(bitmap, channels) {
  const { width, height } = bitmap;
  const canvas = document.createElement("canvas");
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(bitmap, 0, 0);
  const rgba = context.getImageData(0, 0, width, height).data;
  const data = new Uint8Array(width * height * channels);
  for (let i = 0, j = 0; i < rgba.length; i += 4) {
    if (channels === 1) data[j++] = (rgba[i] * 19595 + rgba[i + 1] * 38470 + rgba[i + 2] * 7471 + 0x8000) >> 16;
    else for (let c = 0; c < 3; c++) data[j++] = rgba[i + c];
  }
  return { data, width, height, channels };
}

// A JPEG without what says how it is meant (turns, colour profiles), which way up it is, and its width and height.
function segments(bytes) {
  const view = new DataView(bytes.buffer);
  const kept = [bytes.subarray(0, 2)];
  let orientation = 1;
  let size = [0, 0];
  let at = 2;
  while (at + 4 <= bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda) {
    const end = at + 2 + view.getUint16(at + 2);
    if (bytes[at + 1] === 0xe1) orientation = orientationOf(bytes.subarray(at + 4, end)) || orientation;
    if (FRAMES.has(bytes[at + 1])) size = [view.getUint16(at + 7), view.getUint16(at + 5)];
    if ((bytes[at + 1] & 0xf0) !== 0xe0 || KEPT.has(bytes[at + 1])) kept.push(bytes.subarray(at, end));
    at = end;
  }
  return { kept: [...kept, bytes.subarray(at)], orientation, size };
}

// The orientation in an EXIF block, 1 to 8; 0 where it has none.
function orientationOf(block) {
  if (String.fromCharCode(...block.subarray(0, 6)) !== "Exif\0\0" || block.length < 16) return 0;
  const view = new DataView(block.buffer, block.byteOffset + 6, block.length - 6);
  const isLittle = view.getUint16(0) === 0x4949;
  const first = view.getUint32(4, isLittle);
  if (first + 2 > view.byteLength) return 0;
  for (let i = 0, at = first + 2; i < view.getUint16(first, isLittle) && at + 12 <= view.byteLength; i++, at += 12) {
    if (view.getUint16(at, isLittle) !== 0x0112) continue;
    const found = view.getUint16(at + 2, isLittle) === 3 ? view.getUint16(at + 8, isLittle) : view.getUint32(at + 8, isLittle);
    return found >= 1 && found <= 8 ? found : 0;
  }
  return 0;
}

function turned({ data, width, height, channels }, orientation) {
  if (orientation === 1) return { data, width, height, channels };
  const [w, h] = orientation > 4 ? [height, width] : [width, height];
  const out = new Uint8Array(data.length);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      let [i, j] = orientation > 4 ? [y, x] : [x, y]; // of the old picture, before it is mirrored
      if ([2, 3, 7, 8].includes(orientation)) i = width - 1 - i;
      if ([3, 4, 6, 7].includes(orientation)) j = height - 1 - j;
      for (let c = 0; c < channels; c++) out[(y * w + x) * channels + c] = data[(j * width + i) * channels + c];
    }
  }
  return { data: out, width: w, height: h, channels };
}
