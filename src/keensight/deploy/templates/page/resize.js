// Resizing to the same bits as Pillow's bilinear.
// A picture is {data, width, height, channels}, its data bytes in HWC.

const BITS = 22; // Pillow's fixed-point weights, libImaging/Resample.c
const GAP = 2; // so much of the shrinking is left to the weights after whole pixels were averaged (Image.resize)

export function resized(picture, width, height, fit) {
  if (picture.width === width && picture.height === height) return picture;
  if (fit === "crop") return cropped(picture, width, height);
  if (fit === "letterbox") return letterboxed(picture, width, height);
  const by = [Math.trunc(picture.width / width / GAP) || 1, Math.trunc(picture.height / height / GAP) || 1];
  const small = by[0] > 1 || by[1] > 1 ? averaged(picture, ...by) : picture;
  return bilinear(small, width, height, [0, 0, picture.width / by[0], picture.height / by[1]]);
}

// ImageOps.fit: as much of the middle as has the shape that is asked for.
function cropped(picture, width, height) {
  const { width: w, height: h } = picture;
  const [cropWidth, cropHeight] = w / h >= width / height ? [(width / height) * h, h] : [w, w / (width / height)];
  const [left, top] = [(w - cropWidth) / 2, (h - cropHeight) / 2];
  return bilinear(picture, width, height, [left, top, left + cropWidth, top + cropHeight]);
}

// ImageOps.pad: all of the picture, on a ground of its border's median colour.
function letterboxed(picture, width, height) {
  const { width: w, height: h, channels } = picture;
  const inside = [width, height];
  if (w / h > width / height) inside[1] = even((h / w) * width);
  else if (w / h < width / height) inside[0] = even((w / h) * height);
  const small = bilinear(picture, ...inside, [0, 0, w, h]);
  const data = new Uint8Array(width * height * channels);
  const colour = border(picture).map((levels) => Math.trunc(median(levels)));
  for (let i = 0; i < data.length; i++) data[i] = colour[i % channels];
  const [left, top] = [even((width - small.width) / 2), even((height - small.height) / 2)];
  for (let y = 0; y < small.height; y++) {
    const row = small.data.subarray(y * small.width * channels, (y + 1) * small.width * channels);
    data.set(row, ((y + top) * width + left) * channels);
  }
  return { data, width, height, channels };
}

// Image.reduce: the mean of each block of pixels, rounded as libImaging/Reduce.c does.
export function averaged({ data, width, height, channels }, byX, byY) {
  const [w, h] = [Math.ceil(width / byX), Math.ceil(height / byY)];
  const small = new Uint8Array(w * h * channels);
  for (let y = 0; y < h; y++) {
    const bottom = Math.min(height, (y + 1) * byY);
    for (let x = 0; x < w; x++) {
      const right = Math.min(width, (x + 1) * byX);
      const count = (bottom - y * byY) * (right - x * byX);
      const factor = Math.trunc(Math.fround(2 ** 24 / count));
      for (let c = 0; c < channels; c++) {
        let sum = count >> 1;
        for (let j = y * byY; j < bottom; j++) {
          for (let i = x * byX; i < right; i++) sum += data[(j * width + i) * channels + c];
        }
        small[(y * w + x) * channels + c] = Math.floor((sum * factor) / 2 ** 24);
      }
    }
  }
  return { data: small, width: w, height: h, channels };
}

// Pillow 13 begins with the height where that loses more than twice as many pixels as the width.
function bilinear(picture, width, height, [left, top, right, bottom]) {
  const lost = picture.height - height;
  const wide = (each) => across(each, width, left, right);
  const high = (each) => down(each, height, top, bottom);
  return lost > 0 && lost > 2 * (picture.width - width) ? wide(high(picture)) : high(wide(picture));
}

function across({ data, width, height, channels }, newWidth, left, right) {
  const done = new Uint8ClampedArray(newWidth * height * channels);
  const all = weights(width, left, right, newWidth);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < newWidth; x++) {
      const { first, levels } = all[x];
      for (let c = 0; c < channels; c++) {
        let sum = 1 << (BITS - 1);
        for (let k = 0; k < levels.length; k++) sum += data[(y * width + first + k) * channels + c] * levels[k];
        done[(y * newWidth + x) * channels + c] = sum >> BITS;
      }
    }
  }
  return { data: new Uint8Array(done.buffer), width: newWidth, height, channels };
}

function down({ data, width, height, channels }, newHeight, top, bottom) {
  const step = width * channels;
  const done = new Uint8ClampedArray(step * newHeight);
  weights(height, top, bottom, newHeight).forEach(({ first, levels }, y) => {
    for (let i = 0; i < step; i++) {
      let sum = 1 << (BITS - 1);
      for (let k = 0; k < levels.length; k++) sum += data[(first + k) * step + i] * levels[k];
      done[y * step + i] = sum >> BITS;
    }
  });
  return { data: new Uint8Array(done.buffer), width, height: newHeight, channels };
}

// Which old pixels, and how much of each, make every new one.
function weights(size, from, to, newSize) {
  const [begin, end] = [Math.fround(from), Math.fround(to)];
  const scale = (end - begin) / newSize;
  const support = Math.max(1, scale);
  return Array.from({ length: newSize }, (_, i) => {
    const centre = begin + (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const last = Math.min(size, Math.trunc(centre + support + 0.5));
    const shares = [];
    for (let k = first; k < last; k++) shares.push(Math.max(0, 1 - Math.abs((k - centre + 0.5) / support)));
    const sum = shares.reduce((a, b) => a + b, 0);
    return { first, levels: Int32Array.from(shares, (share) => Math.trunc(0.5 + (share / sum) * 2 ** BITS)) };
  });
}

// The outermost pixels' levels, a list for each channel.
export function border({ data, width, height, channels }) {
  const found = Array.from({ length: channels }, () => []);
  for (let y = 0; y < height; y++) {
    const isWhole = y === 0 || y === height - 1;
    for (let x = 0; x < width; x += isWhole || width === 1 ? 1 : width - 1) {
      for (let c = 0; c < channels; c++) found[c].push(data[(y * width + x) * channels + c]);
    }
  }
  return found;
}

export function quantile(levels, share) {
  const sorted = Float64Array.from(levels).sort();
  const at = share * (sorted.length - 1);
  const below = sorted[Math.floor(at)];
  return below + (at - Math.floor(at)) * (sorted[Math.ceil(at)] - below);
}

const median = (levels) => quantile(levels, 0.5);

// Python's round(): halves go to the even number.
const even = (value) => (Math.abs(value % 1) === 0.5 ? 2 * Math.round(value / 2) : Math.round(value));
