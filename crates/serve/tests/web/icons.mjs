// Draws the icons of the installed page, which are the picture of icon.svg in points: `node icons.mjs` writes them anew.
// Drawn by hand so that no program has to be there; pictures.test.mjs holds the files against it.

import { deflateSync } from "node:zlib";
import { writeFileSync } from "node:fs";

const FINE = 4; // samples a point in each direction
const GREEN = [0x0f, 0x6a, 0x55];
const PALE = [0xf3, 0xf7, 0xf2];
const MINT = [0x9f, 0xe0, 0xc8];

/** The shapes of icon.svg, in its 64 by 64 units; a later one covers an earlier. */
const SHAPES = [
  { x: 14, y: 14, w: 16, h: 16, r: 4, colour: PALE },
  { x: 14, y: 34, w: 16, h: 16, r: 4, colour: PALE },
  { x: 34, y: 34, w: 16, h: 16, r: 4, colour: PALE },
  { x: 37.5, y: 17.5, w: 9, h: 9, r: 4.5, colour: MINT },
];

/** What is drawn: the whole square where the system cuts its own shape. */
export const PICTURES = [
  { name: "icon-192.png", size: 192, round: 15, scale: 1 },
  { name: "icon-512.png", size: 512, round: 15, scale: 1 },
  // Of a maskable icon only the inner four fifths are sure to be seen. Apple's home screen takes it too: it wants no clear corners.
  { name: "icon-maskable-512.png", size: 512, round: 0, scale: 0.8 },
];

function inside(shape, x, y) {
  const dx = Math.max(shape.x + shape.r - x, x - (shape.x + shape.w - shape.r), 0);
  const dy = Math.max(shape.y + shape.r - y, y - (shape.y + shape.h - shape.r), 0);
  return dx * dx + dy * dy <= shape.r * shape.r && x >= shape.x && x <= shape.x + shape.w && y >= shape.y && y <= shape.y + shape.h;
}

/** RGBA points, row by row. */
export function points({ size, round, scale }) {
  const out = Buffer.alloc(size * size * 4);
  const ground = { x: 0, y: 0, w: 64, h: 64, r: round, colour: GREEN };
  for (let py = 0; py < size; py++) {
    for (let px = 0; px < size; px++) {
      const sum = [0, 0, 0];
      let hits = 0;
      for (let sample = 0; sample < FINE * FINE; sample++) {
        const x = ((px + ((sample % FINE) + 0.5) / FINE) / size) * 64;
        const y = ((py + (Math.floor(sample / FINE) + 0.5) / FINE) / size) * 64;
        if (!inside(ground, x, y)) continue;
        const [u, v] = [32 + (x - 32) / scale, 32 + (y - 32) / scale];
        const { colour } = SHAPES.findLast((shape) => inside(shape, u, v)) ?? ground;
        hits++;
        colour.forEach((value, i) => (sum[i] += value));
      }
      const at = (py * size + px) * 4;
      for (let i = 0; i < 3; i++) out[at + i] = hits ? Math.round(sum[i] / hits) : 0;
      out[at + 3] = Math.round((hits / (FINE * FINE)) * 255);
    }
  }
  return out;
}

const TABLE = Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

function chunk(type, data) {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const crc = body.reduce((sum, byte) => TABLE[(sum ^ byte) & 255] ^ (sum >>> 8), 0xffffffff);
  const out = Buffer.alloc(body.length + 8);
  out.writeUInt32BE(data.length, 0);
  body.copy(out, 4);
  out.writeUInt32BE((crc ^ 0xffffffff) >>> 0, out.length - 4);
  return out;
}

/** The points as a PNG file with a palette: there are few colours, so a point is a byte. */
export function png(picture) {
  const { size } = picture;
  const rgba = points(picture);
  const palette = new Map();
  const rows = Buffer.alloc(size * (size + 1));
  for (let at = 0; at < size * size; at++) {
    const colour = rgba.readUInt32BE(at * 4);
    if (!palette.has(colour)) palette.set(colour, palette.size);
    rows[Math.floor(at / size) * (size + 1) + 1 + (at % size)] = palette.get(colour);
  }
  const head = Buffer.alloc(13);
  head.writeUInt32BE(size, 0);
  head.writeUInt32BE(size, 4);
  head.set([8, 3, 0, 0, 0], 8);
  const colours = Buffer.from([...palette.keys()].flatMap((colour) => [colour >>> 24, (colour >>> 16) & 255, (colour >>> 8) & 255]));
  const clear = Buffer.from([...palette.keys()].map((colour) => colour & 255));
  const signature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
  const body = chunk("IDAT", deflateSync(rows, { level: 9 }));
  return Buffer.concat([signature, chunk("IHDR", head), chunk("PLTE", colours), chunk("tRNS", clear), body, chunk("IEND", Buffer.alloc(0))]);
}

if (process.argv[1] === import.meta.filename) {
  for (const picture of PICTURES) writeFileSync(new URL(`../../web/${picture.name}`, import.meta.url), png(picture));
}
