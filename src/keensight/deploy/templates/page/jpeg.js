// Decodes a JPEG at 1/2, 1/4 or 1/8 of its size as libjpeg does, which no browser offers: ITU T.81, Huffman-coded, 8 bits.

const ZIGZAG = Uint8Array.of(
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
  35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
);
const [HUFFMAN, TABLES, SCAN, RESTARTS, ADOBE, JFIF, END] = [0xc4, 0xdb, 0xda, 0xdd, 0xee, 0xe0, 0xd9];

// Returns a picture, or null for a kind that is left to the browser: of four colours, lossless, or arithmetic.
export function decodedSmall(bytes, by, channels) {
  const jpeg = read(bytes);
  if (!jpeg) return null;
  const { frame } = jpeg;
  const [width, height] = [Math.ceil(frame.width / by), Math.ceil(frame.height / by)];
  const used = channels === 1 && !jpeg.isRgb ? frame.components.slice(0, 1) : frame.components;
  const planes = used.map((each) => plane(each, frame, 8 / by));
  const data = new Uint8Array(width * height * channels);
  const out = new Uint8ClampedArray(3);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const levels = planes.map((each) => each.data[y * each.width + x]);
      if (levels.length === 1) for (let c = 0; c < channels; c++) data[i++] = levels[0];
      else {
        if (jpeg.isRgb) out.set(levels);
        else coloured(levels, out);
        if (channels === 3) for (let c = 0; c < 3; c++) data[i++] = out[c];
        else data[i++] = (out[0] * 19595 + out[1] * 38470 + out[2] * 7471 + 0x8000) >> 16;
      }
    }
  }
  return { data, width, height, channels };
}

// jdcolor.c
function coloured([y, blue, red], out) {
  const [b, r] = [blue - 128, red - 128];
  out[0] = y + ((91881 * r + 32768) >> 16);
  out[1] = y + ((-22554 * b - 46802 * r + 32768) >> 16);
  out[2] = y + ((116130 * b + 32768) >> 16);
}

// ---- the file --------------------------------------------------------------------------------------------------------

function read(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const [quantisers, huffman] = [[], { dc: [], ac: [] }];
  let [frame, interval, transform, hasJfif, at] = [null, 0, -1, false, 2];
  while (at + 4 <= bytes.length) {
    if (bytes[at] !== 0xff || bytes[at + 1] === 0xff || bytes[at + 1] === 0) {
      at++;
      continue;
    }
    const marker = bytes[at + 1];
    if (marker === END) break;
    if (marker >= 0xd0 && marker <= 0xd8) {
      at += 2;
      continue;
    }
    const [begin, end] = [at + 4, at + 2 + view.getUint16(at + 2)];
    at = end;
    if (marker === TABLES) {
      for (let i = begin; i < end; ) {
        const [isWide, number] = [bytes[i] >> 4, bytes[i++] & 15];
        quantisers[number] = new Float64Array(64);
        for (let k = 0; k < 64; k++, i += isWide ? 2 : 1) quantisers[number][ZIGZAG[k]] = isWide ? view.getUint16(i) : bytes[i];
      }
    } else if (marker === HUFFMAN) {
      for (let i = begin; i < end; ) {
        const [kind, number] = [bytes[i] >> 4 ? "ac" : "dc", bytes[i++] & 15];
        const lengths = bytes.subarray(i, i + 16);
        const count = lengths.reduce((a, b) => a + b, 0);
        huffman[kind][number] = codes(lengths, bytes.subarray(i + 16, i + 16 + count));
        i += 16 + count;
      }
    } else if (marker === RESTARTS) interval = view.getUint16(begin);
    else if (marker === JFIF) hasJfif ||= bytes[begin] === 0x4a;
    else if (marker === ADOBE && bytes[begin] === 0x41) transform = bytes[begin + 11];
    else if (marker >= 0xc0 && marker <= 0xc2) {
      if (frame || bytes[begin] !== 8 || ![1, 3].includes(bytes[begin + 5])) return null;
      frame = framed(bytes, view, begin, marker === 0xc2);
    } else if (marker > 0xc2 && marker <= 0xcf) return null;
    else if (marker === SCAN) {
      if (!frame) return null;
      at = scanned(bytes, begin, frame, huffman, interval);
    }
  }
  if (!frame) return null;
  for (const each of frame.components) {
    each.quantiser = quantisers[each.table];
    if (!each.quantiser) return null;
  }
  const named = String.fromCharCode(...frame.components.map((each) => each.id));
  const isRgb = frame.components.length === 3 && !hasJfif && (transform >= 0 ? transform === 0 : named === "RGB");
  return { frame, isRgb };
}

function framed(bytes, view, at, isProgressive) {
  const [height, width] = [view.getUint16(at + 1), view.getUint16(at + 3)];
  const components = Array.from({ length: bytes[at + 5] }, (_, i) => {
    const [id, factors, table] = bytes.subarray(at + 6 + 3 * i, at + 9 + 3 * i);
    return { id, h: factors >> 4, v: factors & 15, table, before: 0 };
  });
  if (components.length === 1) components[0].h = components[0].v = 1;
  const [h, v] = [Math.max(...components.map((each) => each.h)), Math.max(...components.map((each) => each.v))];
  const [across, down] = [Math.ceil(width / (8 * h)), Math.ceil(height / (8 * v))];
  for (const each of components) {
    Object.assign(each, { across: across * each.h, down: down * each.v });
    each.own = [Math.ceil(Math.ceil((width * each.h) / h) / 8), Math.ceil(Math.ceil((height * each.v) / v) / 8)];
    each.blocks = new Int16Array(each.across * each.down * 64);
  }
  return { width, height, components, h, v, across, down, isProgressive };
}

// Canonical codes: for each length, the first code, one more than the last, and where its values begin.
function codes(lengths, values) {
  const [first, past, start] = [new Int32Array(17), new Int32Array(17), new Int32Array(17)];
  for (let length = 1, code = 0, at = 0; length <= 16; length++) {
    [first[length], start[length]] = [code, at];
    code += lengths[length - 1];
    at += lengths[length - 1];
    past[length] = code;
    code <<= 1;
  }
  return { first, past, start, values };
}

// ---- a scan ----------------------------------------------------------------------------------------------------------

function scanned(bytes, begin, frame, huffman, interval) {
  const count = bytes[begin];
  const chosen = Array.from({ length: count }, (_, i) => {
    const [id, tables] = bytes.subarray(begin + 1 + 2 * i, begin + 3 + 2 * i);
    const component = frame.components.find((each) => each.id === id);
    return { component, dc: huffman.dc[tables >> 4], ac: huffman.ac[tables & 15] };
  });
  let at = begin + 1 + 2 * count;
  const [from, to, high, low] = [bytes[at], bytes[at + 1], bytes[at + 2] >> 4, bytes[at + 2] & 15];
  at += 3;
  let [held, number, run] = [0, 0, 0]; // bits that were read ahead, how many, and blocks that end early

  const bit = () => {
    if (!number) {
      held = bytes[at];
      if (held === 0xff && bytes[at + 1] !== 0) held = 0; // a marker: zeros from here on, as in libjpeg
      else at += held === 0xff ? 2 : 1;
      number = 8;
    }
    return (held >> --number) & 1;
  };
  const bits = (n) => {
    let value = 0;
    while (n--) value = (value << 1) | bit();
    return value;
  };
  const signed = (n) => {
    const value = bits(n);
    return n && value < 1 << (n - 1) ? value - (1 << n) + 1 : value;
  };
  const symbol = ({ first, past, start, values }) => {
    for (let length = 1, code = 0; length <= 16; length++) {
      code = (code << 1) | bit();
      if (code < past[length]) return values[start[length] + code - first[length]];
    }
    throw new Error("damaged");
  };
  const refine = (blocks, i) => {
    if (bit() && !(blocks[i] & (1 << low))) blocks[i] += blocks[i] > 0 ? 1 << low : -1 << low;
  };

  const whole = ({ component, dc, ac }, off) => {
    const { blocks } = component;
    blocks[off] = component.before += signed(symbol(dc));
    for (let k = 1; k < 64; k++) {
      const found = symbol(ac);
      if (!(found & 15)) {
        if (found >> 4 < 15) break;
        k += 15;
        continue;
      }
      k += found >> 4;
      blocks[off + ZIGZAG[k]] = signed(found & 15);
    }
  };
  const firstMean = ({ component, dc }, off) => (component.blocks[off] = (component.before += signed(symbol(dc))) << low);
  const nextMean = ({ component }, off) => (component.blocks[off] |= bit() << low);
  const firstWaves = ({ component, ac }, off) => {
    if (run) return run--;
    for (let k = from; k <= to; k++) {
      const found = symbol(ac);
      const zeros = found >> 4;
      if (!(found & 15)) {
        if (zeros < 15) return (run = bits(zeros) + (1 << zeros) - 1);
        k += 15;
        continue;
      }
      k += zeros;
      component.blocks[off + ZIGZAG[k]] = signed(found & 15) << low;
    }
  };
  const nextWaves = ({ component, ac }, off) => {
    const { blocks } = component;
    let k = from;
    for (; !run && k <= to; k++) {
      const found = symbol(ac);
      let zeros = found >> 4;
      let level = 0;
      if (found & 15) level = bit() ? 1 << low : -1 << low;
      else if (zeros < 15) {
        run = bits(zeros) + (1 << zeros);
        break;
      }
      for (; k <= to; k++) {
        const i = off + ZIGZAG[k];
        if (blocks[i]) refine(blocks, i);
        else if (--zeros < 0) break;
      }
      if (level && k <= to) blocks[off + ZIGZAG[k]] = level;
    }
    if (!run) return;
    for (; k <= to; k++) if (blocks[off + ZIGZAG[k]]) refine(blocks, off + ZIGZAG[k]);
    run--;
  };
  const block = !frame.isProgressive ? whole : from ? (high ? nextWaves : firstWaves) : high ? nextMean : firstMean;

  const [only] = chosen;
  const [across, down] = count === 1 ? only.component.own : [frame.across, frame.down];
  for (let unit = 0; unit < across * down; unit++) {
    if (!unit || (interval && unit % interval === 0)) {
      if (unit) {
        while (at < bytes.length && !(bytes[at] === 0xff && bytes[at + 1] >= 0xd0 && bytes[at + 1] <= 0xd7)) at++;
        at += 2;
      }
      number = run = 0;
      for (const { component } of chosen) component.before = 0;
    }
    const [row, column] = [Math.floor(unit / across), unit % across];
    if (count === 1) block(only, (row * only.component.across + column) * 64);
    else {
      for (const each of chosen) {
        const { h, v, across: wide } = each.component;
        for (let j = 0; j < v; j++) for (let i = 0; i < h; i++) block(each, ((row * v + j) * wide + column * h + i) * 64);
      }
    }
  }
  return at;
}

// ---- pixels ----------------------------------------------------------------------------------------------------------

// A component's levels where the whole picture is `least` pixels for each 8. Colours that were kept at a half are decoded
// at twice that rather than enlarged (jdmaster.c).
function plane(component, frame, least) {
  let side = least;
  const spares = () => (frame.h * least) % (component.h * side * 2) === 0 && (frame.v * least) % (component.v * side * 2) === 0;
  while (side < 8 && spares()) side *= 2;
  const width = component.across * side;
  const height = component.down * side;
  const data = inverse(component, side, width, height);
  const [wider, higher] = [(frame.h * least) / (component.h * side), (frame.v * least) / (component.v * side)];
  if (wider === 1 && higher === 1) return { data, width };
  const own = [(frame.width * component.h * side) / (frame.h * 8), (frame.height * component.v * side) / (frame.v * 8)].map(Math.ceil);
  return enlarged(data, width, own, wider, higher, least > 1);
}

// jdsample.c: between two neighbours for a factor of two in one direction, repeated for all others.
function enlarged(data, width, [ownWidth, ownHeight], wider, higher, isSmooth) {
  const across = isSmooth && wider === 2 && higher === 1 && ownWidth > 2;
  const down = isSmooth && wider === 1 && higher === 2;
  const [newWidth, newHeight] = [Math.ceil(ownWidth * wider), Math.ceil(ownHeight * higher)];
  const out = new Uint8Array(newWidth * newHeight);
  for (let y = 0; y < newHeight; y++) {
    const row = Math.floor(y / higher);
    for (let x = 0; x < newWidth; x++) {
      const i = row * width + Math.floor(x / wider);
      let level = data[i];
      if (across) {
        const beside = i - row * width + (x % 2 ? 1 : -1);
        if (beside >= 0 && beside < ownWidth) level = (3 * level + data[row * width + beside] + (x % 2 ? 2 : 1)) >> 2;
      } else if (down) {
        const beside = Math.max(0, Math.min(ownHeight - 1, row + (y % 2 ? 1 : -1)));
        level = (3 * level + data[beside * width + x] + (y % 2 ? 2 : 1)) >> 2;
      }
      out[y * newWidth + x] = level;
    }
  }
  return { data: out, width: newWidth };
}

const STEPS = 4 * Math.sqrt(8); // libjpeg's columns have two bits beyond the whole numbers

// The cosine transform turned back, each level the mean of as many as are left out (jidctred.c).
function inverse({ blocks, quantiser, across, down }, side, width, height) {
  const data = new Uint8ClampedArray(width * height);
  const waves = wavesOf(side);
  const half = new Float64Array(64);
  for (let row = 0; row < down; row++) {
    for (let column = 0; column < across; column++) {
      const off = (row * across + column) * 64;
      for (let i = 0; i < side; i++) {
        for (let f = 0; f < 8; f++) {
          let sum = 0;
          for (let g = 0; g < 8; g++) if (blocks[off + g * 8 + f]) sum += waves[i * 8 + g] * blocks[off + g * 8 + f] * quantiser[g * 8 + f];
          half[i * 8 + f] = Math.floor(sum * STEPS + 0.5) / STEPS;
        }
      }
      for (let i = 0; i < side; i++) {
        for (let j = 0; j < side; j++) {
          let sum = 128.5 + 1e-6; // halves go up
          for (let f = 0; f < 8; f++) sum += half[i * 8 + f] * waves[j * 8 + f];
          data[(row * side + i) * width + column * side + j] = Math.floor(sum);
        }
      }
    }
  }
  return data;
}

function wavesOf(side) {
  const waves = new Float64Array(side * 8);
  for (let i = 0; i < side; i++) {
    for (let f = 0; f < 8; f++) {
      let sum = 0;
      for (let k = (i * 8) / side; k < ((i + 1) * 8) / side; k++) sum += Math.cos(((2 * k + 1) * f * Math.PI) / 16);
      waves[i * 8 + f] = (sum * side * (f ? 1 : Math.SQRT1_2)) / 16;
    }
  }
  return waves;
}
