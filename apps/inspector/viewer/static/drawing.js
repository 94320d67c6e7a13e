// What is drawn into and around a picture besides its measures: the slice itself, the cross, scale bar and colour bar.

import { niceLength, paint, show, turnedSize } from "./arithmetic.js";
import { TABLES } from "./colours.js";

export const BAR = 64; // room for the colour bar, so that it never hides anatomy
export const TOP = 26; // and for the lines of text above and below
export const BOTTOM = 30;
export const FONT = "12px 'DejaVu Sans', system-ui, sans-serif";

/** Paint a slice into a canvas of its own size, pixel for pixel. */
export function fill(canvas, slice, plane, window, table, nothing) {
  const [height, width] = turnedSize(plane, slice.rows, slice.columns);
  if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  const pen = canvas.getContext("2d");
  const image = pen.createImageData(width, height);
  paint(new Uint32Array(image.data.buffer), slice, plane, window, table, nothing);
  pen.putImageData(image, 0, 0);
}

export function drawCross(pen, view, cursor) {
  const { kx, ky, x, y } = view.layout;
  const [cy, cx] = [y + (Math.floor(cursor.down) + 0.5) * ky, x + (Math.floor(cursor.across) + 0.5) * kx];
  for (const [colour, line] of [["#000", 3], ["#5fd0ff", 1]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = line;
    pen.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      pen.moveTo(cx + 4 * dx, cy + 4 * dy);
      pen.lineTo(cx + 12 * dx, cy + 12 * dy);
    }
    pen.stroke();
  }
}

/** A bar of a round length; returns its length, unit and pixels as one text. */
export function drawScale(pen, view) {
  const { box } = view;
  const { kx, room } = view.layout;
  const { dx } = view.drawn;
  const perUnit = kx / dx;
  pen.font = FONT;
  const [left, words] = [10, 53];
  // In a narrow picture it is shorter, or stands above the line with the window.
  const free = room[0] - 8 - pen.measureText(view.marks.window.textContent).width - left - words;
  const reach = Math.max(12, Math.min(room[0] * 0.3, free >= 14 ? free : room[0] / 2 - left - words - 14));
  const length = niceLength(Math.max(1e-6, reach / perUnit));
  const base = box.height - (free >= 14 ? 9 : 26);
  pen.strokeStyle = "#e8e8e8";
  pen.lineWidth = 1.5;
  pen.beginPath();
  pen.moveTo(left, base - 5);
  pen.lineTo(left, base);
  pen.lineTo(left + length * perUnit, base);
  pen.lineTo(left + length * perUnit, base - 5);
  pen.stroke();
  pen.fillStyle = "#e8e8e8";
  const unit = view.pane.spacing ? "mm" : "px";
  pen.fillText(`${length} ${unit}`, left + length * perUnit + 6, base + 1);
  return `${length} ${unit} ${length * perUnit}`;
}

export function drawBar(pen, view) {
  const { box } = view;
  const { low, high, invert } = view.window;
  const table = TABLES[view.pane.kind];
  const [top, tall, left, wide] = [TOP + 14, Math.max(20, box.height - TOP - BOTTOM - 28), box.width - BAR + 6, 12];
  for (let i = 0; i < tall; i++) {
    const grey = Math.round(255 * (1 - i / (tall - 1)));
    pen.fillStyle = css(table[invert ? 255 - grey : grey]);
    pen.fillRect(left, top + i, wide, 1.5);
  }
  pen.strokeStyle = "#777";
  pen.lineWidth = 1;
  pen.strokeRect(left - 0.5, top - 0.5, wide + 1, tall + 1);
  pen.font = "11px 'DejaVu Sans', system-ui, sans-serif";
  pen.fillStyle = "#e8e8e8";
  const labels = [[high, top + 8], [(low + high) / 2, top + tall / 2 + 4], [low, top + tall]];
  for (const [value, height] of labels) pen.fillText(brief(value), left + wide + 4, height, BAR - wide - 10);
  pen.fillText(view.pane.unit || "a.u.", left, top - 7, BAR - 8);
}

/** A packed colour for CSS, through the order of bytes it is stored in. */
function css(packed) {
  const [r, g, b] = new Uint8Array(new Uint32Array([packed]).buffer);
  return `rgb(${r},${g},${b})`;
}

const brief = (value) => show(Number(value.toPrecision(3)));
