// Makes a picture small enough for the server. The browser decodes it, upright as its EXIF data says.

import { Refused } from "./api.js";

const SIDES_PX = [4096, 2048, 1024, 512, 256];
const QUALITY = 0.9;

export const megabytes = (n) => (n < 1e5 ? `${Math.ceil(n / 1e3)} kB` : `${(n / 1e6).toFixed(1)} MB`);

// Resolves to {blob, copied}: the file itself where it fits into `most` bytes, else a smaller JPEG of it.
export async function fitting(file, most) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Refused("It cannot be read. If it is a folder, choose the pictures in it.");
  }
  if (file.size <= most) return { blob: file, copied: false };
  const why = `It has ${megabytes(file.size)}, and this server takes ${megabytes(most)}.`;
  return { blob: await smaller(file, most, why), copied: true };
}

// Resolves to a JPEG of at most `most` bytes and 17 megapixels. `why` it is needed is part of the Refused.
export async function smaller(file, most, why) {
  const picture = await createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => {
    throw new Refused(`${why} This browser cannot open it to convert it: save it as a JPEG or PNG, or smaller.`);
  });
  try {
    for (const side of SIDES_PX) {
      const scale = Math.min(1, side / Math.max(picture.width, picture.height));
      const blob = await draw(picture, picture.width * scale, picture.height * scale);
      if (blob && blob.size <= most) return blob;
    }
  } finally {
    picture.close();
  }
  throw new Refused(`${why} Even a small copy of it is too large.`);
}

function draw(picture, width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(width));
  canvas.height = Math.max(1, Math.round(height));
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff"; // as the server lays transparency on white
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
}
