// One picture on the page: a plane of a volume under a window, with what is written around it.

import { distance, ellipseStatistics, show, sourceIndex, turnedSize } from "./arithmetic.js";
import { CLEAR, NOTHING, TABLES } from "./colours.js";
import { BAR, BOTTOM, TOP, drawBar, drawCross, drawScale, fill } from "./drawing.js";
import { drawMeasures } from "./measures.js";

const REACH = 9; // CSS pixels from the end of a measure
const element = (name, className, parent, text = "") => {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  parent.append(made);
  return made;
};

/** How the plane is hung, in words: true of each plane, axial or not. */
function convention({ letters }) {
  if (!letters) return "Orientation unknown: shown as stored.";
  const words = { L: "left", R: "right", A: "front", P: "back", S: "head", I: "feet" };
  return `Radiological convention: the patient's ${words[letters.left[0]] ?? letters.left} on the left.`;
}

export class View {
  /**
   * @param viewer  what owns this view: asked for the state, told of nothing
   * @param pane    description of the picture (title, unit, planes, ...) with its `volume`
   * @param axis    axis that is cut across
   */
  constructor(viewer, pane, axis, host, name) {
    this.viewer = viewer;
    this.pane = pane;
    this.axis = axis;
    this.name = name;
    this.plane = pane.planes[axis];
    this.count = pane.shape[axis];
    this.bitmap = document.createElement("canvas");
    this.under = document.createElement("canvas");
    this.painted = null;
    this.shown = null; // the slice in the picture, which is not always yet the one that is wanted
    this.build(host);
  }

  build(host) {
    const root = (this.root = element("section", "pane", host));
    root.dataset.kind = this.pane.kind;
    const head = element("header", "head", root);
    this.title = element("h2", "title", head, this.name);
    this.note = element("span", "note quiet", head, [this.pane.note, convention(this.plane)].filter(Boolean).join(" "));
    this.note.title = this.note.textContent;
    const stage = (this.stage = element("div", "stage", root));
    stage.tabIndex = 0;
    stage.setAttribute("role", "application");
    stage.setAttribute("aria-roledescription", "image");
    this.canvas = element("canvas", "", stage);
    this.canvas.setAttribute("aria-hidden", "true");
    const corner = (place) => {
      const made = element("span", `mark ${place}`, stage);
      made.setAttribute("aria-hidden", "true");
      return made;
    };
    this.marks = Object.fromEntries(["place", "number", "value", "window", "left", "right", "top", "bottom", "state"].map((m) => [m, corner(m)]));
    const foot = element("footer", "foot", root);
    if (this.count > 1) {
      const label = element("label", "slider", foot);
      element("span", "quiet", label, `${this.plane.letters ? this.plane.name : "Slice"}`);
      this.slider = element("input", "", label);
      Object.assign(this.slider, { type: "range", min: 1, max: this.count, step: 1 });
      this.slider.setAttribute("aria-label", `Slice of ${this.name}`);
    }
    this.box = { width: 0, height: 0 };
    this.observer = new ResizeObserver(([{ contentRect }]) => {
      this.box = { width: contentRect.width, height: contentRect.height };
      this.viewer.refresh();
    });
    this.observer.observe(stage);
  }

  get state() {
    return this.viewer.stateOf(this);
  }

  get window() {
    return this.viewer.windowOf(this);
  }

  /** The slice that the position asks for. */
  get wanted() {
    return Math.min(this.count - 1, Math.max(0, Math.floor(this.state.position[this.axis] * this.count)));
  }

  /** Height and width of the picture in pixels of the array, and the spacing of both. */
  get drawn() {
    const [rows, columns] = this.pane.volume.size(this.axis);
    const [height, width] = turnedSize(this.plane, rows, columns);
    const spacing = (this.pane.spacing ?? [1, 1, 1]).filter((_, i) => i !== this.axis);
    const [dy, dx] = this.plane.transpose ? [spacing[1], spacing[0]] : spacing;
    return { rows, columns, height, width, dy, dx };
  }

  /** Where the picture lies in the stage, in CSS pixels: origin and size of one pixel of the array. */
  get layout() {
    const { height, width, dy, dx } = this.drawn;
    const { box } = this;
    const room = [Math.max(1, box.width - BAR), Math.max(1, box.height - TOP - BOTTOM)];
    const fit = Math.min(room[0] / (width * dx), room[1] / (height * dy));
    const { zoom, cx, cy } = this.state;
    const [kx, ky] = [fit * zoom * dx, fit * zoom * dy];
    return { kx, ky, fit, x: room[0] / 2 - cx * width * kx, y: TOP + room[1] / 2 - cy * height * ky, room };
  }

  /** Drawn pixel coordinates (down, across; whole numbers are edges) of a place on the screen. */
  toImage(clientX, clientY) {
    const box = this.stage.getBoundingClientRect();
    const { kx, ky, x, y } = this.layout;
    return [(clientY - box.top - y) / ky, (clientX - box.left - x) / kx];
  }

  /** Value at a drawn pixel of the slice in the picture. */
  valueAt = (down, across) => {
    const { rows, columns, height, width } = this.drawn;
    if (!this.shown || down < 0 || across < 0 || down >= height || across >= width) return undefined;
    return this.shown.slice.values[sourceIndex(this.plane, rows, columns, Math.floor(down), Math.floor(across))];
  };

  /** (z, y, x) of a drawn pixel. */
  voxel(down, across) {
    const { rows, columns } = this.drawn;
    const index = sourceIndex(this.plane, rows, columns, Math.floor(down), Math.floor(across));
    const place = [Math.floor(index / columns), index % columns];
    place.splice(this.axis, 0, this.shown?.number ?? this.wanted);
    return place;
  }

  /** Where (z, y, x) is drawn: the middle of its pixel. */
  fromVoxel(voxel) {
    const { height, width } = this.drawn;
    const [row, column] = voxel.filter((_, axis) => axis !== this.axis);
    const [down, across] = this.plane.transpose ? [column, row] : [row, column];
    return [(this.plane.flipDown ? height - 1 - down : down) + 0.5, (this.plane.flipAcross ? width - 1 - across : across) + 0.5];
  }

  /** Ask for the wanted slice; draw when it is there. */
  async fetch() {
    const number = this.wanted;
    if (this.shown?.number === number && this.shown.volume === this.pane.volume) return;
    const direction = this.shown ? Math.sign(number - this.shown.number) : 1;
    const { volume } = this.pane;
    const here = volume.peek(this.axis, number);
    volume.expect(this.axis, number, direction);
    if (here) {
      this.take(number, here);
      return;
    }
    const late = setTimeout(() => this.say(`Loading slice ${number + 1} …`), 150);
    try {
      const slice = await volume.slice(this.axis, number);
      if (this.wanted === number) {
        this.take(number, slice);
        this.viewer.refresh();
      }
    } catch (error) {
      if (error.name !== "AbortError") this.say(`Not loaded: ${error.message}`);
    } finally {
      clearTimeout(late);
    }
  }

  take(number, slice) {
    this.shown = { number, slice, volume: this.pane.volume };
    this.say(slice.empty ? "Nothing was made of this slice yet." : "");
    this.viewer.arrived(this);
  }

  say(sentence) {
    this.marks.state.textContent = sentence;
  }

  /** Draw everything. Cheap: the bitmap is painted anew only when slice or window have changed. */
  draw() {
    const { box } = this;
    if (!box.width || !box.height) return;
    const ratio = window.devicePixelRatio || 1;
    const [w, h] = [Math.round(box.width * ratio), Math.round(box.height * ratio)];
    if (this.canvas.width !== w || this.canvas.height !== h) Object.assign(this.canvas, { width: w, height: h });
    const pen = this.canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, w, h);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (!this.shown) return;
    const { height, width } = this.drawn;
    const { kx, ky, x, y, room } = this.layout;
    this.paint();
    pen.save();
    pen.beginPath();
    pen.rect(0, 0, room[0], box.height);
    pen.clip();
    pen.imageSmoothingEnabled = this.viewer.smooth;
    pen.imageSmoothingQuality = "high";
    pen.drawImage(this.bitmap, x, y, width * kx, height * ky);
    this.drawOverlay(pen, x, y, width * kx, height * ky);
    this.drawBeside(pen, x, y, width * kx, height * ky);
    this.write(); // before the measures, whose labels give way to the words
    drawMeasures(pen, this);
    const cursor = this.viewer.cursorIn(this);
    if (cursor && cursor.quietFor !== this) drawCross(pen, this, cursor);
    pen.restore();
    this.root.dataset.scale = drawScale(pen, this);
    drawBar(pen, this);
  }

  paint() {
    const { low, high, invert } = this.window;
    const key = [this.shown.number, low, high, invert].join();
    if (this.painted === key && this.paintedSlice === this.shown.slice) return;
    fill(this.bitmap, this.shown.slice, this.plane, this.window, TABLES[this.pane.kind], NOTHING);
    this.painted = key;
    this.paintedSlice = this.shown.slice;
    this.root.dataset.shown = String(this.shown.number + 1);
  }

  /** The map of uncertainty over the anatomy, only when asked for. */
  drawOverlay(pen, x, y, width, height) {
    const over = this.viewer.overlayFor(this);
    if (!over?.shown || over.shown.number !== this.shown.number) return;
    const shade = { ...over.window, invert: false };
    fill(this.under, over.shown.slice, this.plane, shade, TABLES.uncertainty, CLEAR);
    pen.globalAlpha = this.viewer.opacity;
    pen.drawImage(this.under, x, y, width, height);
    pen.globalAlpha = 1;
  }

  /** The other picture of a comparison in the place of this one: all of it, or what lies right of the wipe. */
  drawBeside(pen, x, y, width, height) {
    const other = this.viewer.besideOf(this);
    this.title.textContent = other && this.viewer.share <= 0 ? other.name : this.name;
    if (!other?.shown || other.shown.number !== this.shown.number) return;
    const edge = x + width * this.viewer.share;
    fill(this.under, other.shown.slice, other.plane, this.window, TABLES.grey, NOTHING);
    pen.save();
    pen.beginPath();
    pen.rect(edge, y, x + width - edge, height);
    pen.clip();
    pen.drawImage(this.under, x, y, width, height);
    pen.restore();
    if (this.viewer.share <= 0) return;
    pen.fillStyle = "#7cc4ff";
    pen.fillRect(edge - 1, y, 2, height);
  }

  /** The measure and its end ("a" or "b") within reach of a place on the screen; null if there is none. */
  handleAt(clientX, clientY) {
    const box = this.stage.getBoundingClientRect();
    const { kx, ky, x, y } = this.layout;
    for (const measure of [...this.viewer.measuresOf(this)].reverse()) {
      for (const end of ["b", "a"]) {
        const [down, across] = measure[end];
        const off = Math.hypot(clientX - box.left - x - across * kx, clientY - box.top - y - down * ky);
        if (off <= REACH) return { measure, end };
      }
    }
    return null;
  }

  /** What a measure says in this picture. */
  reading(measure) {
    const { dy, dx } = this.drawn;
    if (measure.tool === "distance") {
      return `${show(distance(measure.a, measure.b, [dy, dx]))} ${this.pane.spacing ? "mm" : "px"}`;
    }
    const found = this.statistics(measure);
    const unit = this.pane.unit ? ` ${this.pane.unit}` : "";
    return found.n ? `mean ${show(found.mean)}, SD ${show(found.sd)}${unit}, n ${found.n}` : "no pixel inside";
  }

  /** Number, mean and standard deviation in the oval of a measure. */
  statistics(measure) {
    const { height, width } = this.drawn;
    return ellipseStatistics(this.valueAt, measure.a, measure.b, height, width);
  }

  /** The words around the picture, and the same for those who hear it. */
  write() {
    const { low, high, invert } = this.window;
    const { marks, plane } = this;
    const number = `${this.shown.number + 1} / ${this.count}`;
    marks.place.textContent = plane.letters ? plane.name : this.count > 1 && this.axis ? plane.name : "";
    marks.number.textContent = this.count > 1 ? number : "";
    marks.window.textContent = `W ${show(high - low)}  L ${show((low + high) / 2)}${invert ? "  inverted" : ""}`;
    const cursor = this.viewer.cursorIn(this);
    marks.value.textContent = cursor ? this.sayValue(cursor) : "";
    for (const edge of ["left", "right", "top", "bottom"]) marks[edge].textContent = plane.letters?.[edge] ?? "";
    if (this.slider && Number(this.slider.value) !== this.wanted + 1) this.slider.value = String(this.wanted + 1);
    const turned = plane.letters ? `${plane.name}, patient's ${plane.letters.left} on the left of the picture` : "orientation unknown";
    const label = `${this.name}, ${this.count > 1 ? `slice ${this.shown.number + 1} of ${this.count}, ` : ""}${turned}, window ${show(low)} to ${show(high)} ${this.pane.unit}`;
    if (this.stage.getAttribute("aria-label") !== label) this.stage.setAttribute("aria-label", label);
  }

  sayValue({ down, across }) {
    const value = this.valueAt(down, across);
    if (value === undefined) return "";
    const [z, y, x] = this.voxel(down, across);
    const place = this.pane.shape[0] > 1 ? `(${x}, ${y}, ${z})` : `(${x}, ${y})`;
    return `${place}  ${show(value)}${this.pane.unit && !Number.isNaN(value) ? ` ${this.pane.unit}` : ""}`;
  }
}
