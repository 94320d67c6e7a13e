// Measures as they are drawn into a picture: line or oval, the ends by which it is moved, and what it says.

import { BOTTOM, FONT, TOP } from "./drawing.js";

const LINE = 17; // CSS pixels from one label to the next

export function drawMeasures(pen, view) {
  const { kx, ky, x, y } = view.layout;
  const at = ([down, across]) => [x + across * kx, y + down * ky];
  const measures = view.viewer.measuresOf(view);
  const taken = measures.length ? words(view) : [];
  pen.font = FONT;
  for (const measure of measures) {
    const [a, b] = [at(measure.a), at(measure.b)];
    drawShape(pen, measure.tool, a, b);
    pen.fillStyle = "#ffd75e";
    for (const [across, down] of [a, b]) pen.fillRect(across - 3, down - 3, 6, 6);
    drawLabel(pen, view, `${measure.label}: ${view.reading(measure)}`, [Math.max(a[0], b[0]), Math.max(a[1], b[1])], taken);
  }
}

function drawShape(pen, tool, a, b) {
  const [[ax, ay], [bx, by]] = [a, b];
  pen.beginPath();
  if (tool === "distance") {
    pen.moveTo(ax, ay);
    pen.lineTo(bx, by);
  } else pen.ellipse((ax + bx) / 2, (ay + by) / 2, Math.abs(ax - bx) / 2, Math.abs(ay - by) / 2, 0, 0, 7);
  for (const [colour, line] of [["#000", 3.5], ["#ffd75e", 1.5]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = line;
    pen.stroke();
  }
}

/** The words that stand over the picture, where a label would cover them. */
function words({ stage, marks }) {
  const box = stage.getBoundingClientRect();
  return [marks.left, marks.right, marks.bottom, marks.value].filter(({ textContent }) => textContent).map((mark) => {
    const { left, right, top, bottom } = mark.getBoundingClientRect();
    return { left: left - box.left, right: right - box.left, top: top - box.top, bottom: bottom - box.top };
  });
}

/** Write a label below and right of a corner, or as near to that as nothing else is written. */
function drawLabel(pen, view, text, [right, below], taken) {
  const width = pen.measureText(text).width + 6;
  const left = Math.max(4, Math.min(right + 6, view.layout.room[0] - width)) - 3;
  const [highest, lowest] = [TOP, view.box.height - BOTTOM - LINE];
  const wanted = Math.max(highest, Math.min(below - 8, lowest));
  const free = (top) => top >= highest && top <= lowest && !taken.some((other) =>
    other.left < left + width && left < other.right && other.top < top + LINE && top < other.bottom);
  const tries = Array.from({ length: Math.ceil(view.box.height / 4) }, (_, n) => [wanted + 4 * n, wanted - 4 * n]).flat();
  const top = tries.find(free) ?? wanted;
  taken.push({ left, right: left + width, top, bottom: top + LINE });
  pen.fillStyle = "rgba(0,0,0,.75)";
  pen.fillRect(left, top, width, LINE - 1);
  pen.fillStyle = "#ffd75e";
  pen.fillText(text, left + 3, top + 12);
}
