// Panes side by side or the three planes of one, and the state they share.

import { percentiles, sane, show } from "./arithmetic.js";
import { differencePane, pairs } from "./difference.js";
import { BAR } from "./drawing.js";
import { SliceMemory, Volume } from "./slices.js";
import { View } from "./view.js";

const START = () => ({ position: [0.5, 0.5, 0.5], zoom: 1, cx: 0.5, cy: 0.5 });
const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

export class Viewer extends EventTarget {
  /** @param grid element that holds the views; @param descriptions what the server says of each pane */
  constructor(grid, descriptions, announce = (/** @type {string} */ _sentence) => {}) {
    super();
    this.grid = grid;
    this.announce = announce;
    this.memory = new SliceMemory();
    this.take(descriptions);
    this.beside = null;
    this.share = 0;
    this.linked = true;
    this.smooth = false;
    this.overlay = false;
    this.opacity = 0.5;
    this.mode = "panes";
    this.alone = false;
    this.shared = START();
    this.windows = new Map();
    this.measures = [];
    this.draft = null;
    this.cursor = null;
    this.axis = 0;
    this.difference = null;
    this.lay();
    new ResizeObserver(() => this.arrange()).observe(grid);
  }

  take(descriptions) {
    this.panes = descriptions.map((pane) => ({ ...pane, volume: new Volume(pane.source, pane.shape, this.memory) }));
    this.pairs = pairs(this.panes);
    this.difference = null;
  }

  /** Show other pictures: place, zoom and tools stay, and of the same scan windows and measures too. */
  setPanes(descriptions, same) {
    const active = this.active?.pane.source;
    for (const { volume } of this.panes) volume.forget();
    this.take(descriptions);
    this.beside = null;
    if (!same) {
      this.shared = START();
      this.windows.clear();
      this.measures = [];
      Object.assign(this, { mode: "panes", axis: 0, alone: false });
    }
    for (const measure of this.measures) measure.pane = this.panes.find(({ source }) => source === measure.pane.source) ?? this.panes[0];
    this.lay();
    const again = this.views.find(({ pane }) => pane.source === active);
    if (again) this.activate(again);
    this.dispatchEvent(new Event("panes"));
  }

  // ---- what is on the page ---------------------------------------------------------------------------------------

  /** Make the views of the present mode anew. */
  lay() {
    for (const view of this.views ?? []) view.observer.disconnect();
    const focused = this.grid.contains(document.activeElement);
    const active = this.active?.pane;
    this.grid.replaceChildren();
    this.cursor = null;
    if (this.mode === "planes") {
      const pane = active ?? this.panes[0];
      this.views = [0, 1, 2].map((axis) => new View(this, pane, axis, this.grid, `${pane.title}: ${pane.planes[axis].name.toLowerCase()}`));
      for (const view of this.views) view.own = { ...START(), position: this.shared.position };
    } else {
      const panes = this.difference ? [...this.panes, this.difference] : this.panes;
      this.views = panes.map((pane) => new View(this, pane, this.axis, this.grid, pane.title));
      for (const view of this.views) view.own = structuredClone(this.shared);
    }
    this.grid.dataset.mode = this.mode;
    this.activate(this.views.find((view) => view.pane === active) ?? this.views[0]);
    if (focused) this.active.stage.focus();
    this.dispatchEvent(new Event("lay"));
    this.refresh();
  }

  activate(view) {
    const other = this.active !== view;
    this.active = view;
    if (other) this.dispatchEvent(new Event("active"));
    for (const other of this.views) {
      other.root.classList.toggle("active", other === view);
      other.root.hidden = this.alone && other !== view;
    }
    this.arrange();
    this.dispatchEvent(new Event("change"));
    this.refresh();
  }

  /** Choose the number of columns that makes the pictures largest. */
  arrange() {
    const views = this.views.filter((view) => !view.root.hidden);
    const [width, height] = [this.grid.clientWidth, Math.max(this.grid.clientHeight, 300)];
    const largest = (columns) => {
      const room = [width / columns - BAR, height / Math.ceil(views.length / columns) - 110];
      return Math.min(...views.map(({ drawn: d }) => Math.min(room[0] / (d.width * d.dx), Math.max(room[1], 40) / (d.height * d.dy))));
    };
    const choices = views.map((_, i) => i + 1).filter((columns) => columns === 1 || width / columns >= 260);
    // Where the page grows with its pictures, two side by side are worth more than one large.
    const grows = getComputedStyle(this.grid).getPropertyValue("--grows") === "1";
    const best = grows ? Math.min(2, choices.length) : choices.reduce((kept, columns) => (largest(columns) > largest(kept) * 1.02 ? columns : kept));
    this.grid.style.setProperty("--columns", String(best));
  }

  toggleAlone() {
    this.alone = !this.alone && this.views.length > 1;
    this.activate(this.active);
  }

  setMode(mode, axis = this.axis) {
    [this.mode, this.axis] = [mode, axis];
    this.alone = false;
    this.lay();
  }

  setDifference(index) {
    this.difference = index < 0 ? null : differencePane(...this.pairs[index]);
    this.mode = "panes";
    this.lay();
  }

  // ---- one picture in the place of another: flicker and wipe ---------------------------------------------------------

  /** Compare the active picture with another in one place: `share` of it stays, the rest is the other; null ends it. */
  compare(index, share = 0) {
    Object.assign(this, { beside: index === null ? null : this.views[index], share });
    this.refresh();
  }

  besideOf(view) {
    const other = this.beside;
    return other && view === this.active && other !== view && this.alike(view.pane, other.pane) ? other : null;
  }

  // ---- state: shared when linked, each view's own when not ----------------------------------------------------------

  stateOf(view) {
    return this.linked && this.mode === "panes" ? this.shared : view.own;
  }

  windowOf(view) {
    const { pane } = view;
    const key = this.linked ? `${pane.kind} ${pane.unit}` : pane.source + pane.title;
    if (!this.windows.has(key)) {
      const [low, high] = pane.window;
      this.windows.set(key, { low, high, invert: false });
    }
    return this.windows.get(key);
  }

  setLinked(linked) {
    const { active } = this;
    if (linked) {
      const { low, high, invert } = this.windowOf(active);
      const { zoom, cx, cy, position } = active.own;
      Object.assign(this.shared, { zoom, cx, cy });
      this.shared.position.splice(0, 3, ...position); // in place: the three planes hold on to this very list
      this.linked = true;
      Object.assign(this.windowOf(active), { low, high, invert });
    } else {
      const windows = this.views.map((view) => ({ ...this.windowOf(view) }));
      for (const view of this.views) if (this.mode === "panes") view.own = structuredClone(this.shared);
      this.linked = false;
      this.views.forEach((view, i) => Object.assign(this.windowOf(view), windows[i]));
    }
    this.changed();
  }

  /** Something that is seen has changed. */
  changed() {
    this.dispatchEvent(new Event("change"));
    this.refresh();
  }

  /** Draw at the next frame; many changes within one frame are drawn once. */
  refresh() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      for (const view of this.views) {
        if (view.root.hidden) continue;
        view.fetch();
        view.draw();
      }
    });
  }

  arrived(view) {
    this.dispatchEvent(new CustomEvent("arrived", { detail: view }));
  }

  // ---- moving ------------------------------------------------------------------------------------------------------

  goTo(view, number) {
    const wanted = clamp(number, 0, view.count - 1);
    this.stateOf(view).position[view.axis] = (wanted + 0.5) / view.count;
    clearTimeout(this.speaking);
    this.speaking = setTimeout(() => this.announce(`Slice ${wanted + 1} of ${view.count}`), 400);
    this.refresh();
  }

  step(view, by) {
    this.goTo(view, view.wanted + by);
  }

  pan(view, dx, dy) {
    const state = this.stateOf(view);
    const { kx, ky } = view.layout;
    const { width, height } = view.drawn;
    state.cx = clamp(state.cx - dx / (width * kx), 0, 1);
    state.cy = clamp(state.cy - dy / (height * ky), 0, 1);
    this.refresh();
  }

  /** Zoom by a factor; what lies under the given place (drawn pixels) stays where it is. */
  zoom(view, factor, place = null) {
    const state = this.stateOf(view);
    const { height, width } = view.drawn;
    const zoom = clamp(state.zoom * factor, 0.25, 64);
    const [fy, fx] = place ? [place[0] / height, place[1] / width] : [state.cy, state.cx];
    const share = 1 - state.zoom / zoom;
    state.cx = clamp(state.cx + (fx - state.cx) * share, 0, 1);
    state.cy = clamp(state.cy + (fy - state.cy) * share, 0, 1);
    state.zoom = zoom;
    this.changed();
  }

  fit(view) {
    Object.assign(this.stateOf(view), { zoom: 1, cx: 0.5, cy: 0.5 });
    this.changed();
  }

  /** One pixel of the array on one pixel of the screen. */
  oneToOne(view) {
    const { fit } = view.layout;
    this.stateOf(view).zoom = 1 / (fit * view.drawn.dx * (window.devicePixelRatio || 1));
    this.changed();
  }

  /** Window, zoom and place as at first; the slice stays. */
  reset() {
    const { zoom, cx, cy } = START();
    for (const state of [this.shared, ...this.views.map((view) => view.own)]) Object.assign(state, { zoom, cx, cy });
    this.windows.clear();
    this.changed();
  }

  // ---- windows -----------------------------------------------------------------------------------------------------

  setWindow(view, low, high) {
    [low, high] = sane(low, high);
    Object.assign(this.windowOf(view), { low, high });
    this.changed();
  }

  dragWindow(view, dx, dy) {
    const { low, high } = this.windowOf(view);
    const step = Math.max(high - low, 1e-12) / 250;
    const width = Math.max(step * 0.5, high - low + dx * step * 2);
    const middle = (low + high) / 2 + dy * step;
    // A difference stays about zero, so that mid-grey goes on meaning none.
    const centre = view.pane.kind === "difference" ? 0 : middle;
    this.setWindow(view, centre - width / 2, centre + width / 2);
  }

  invert(view) {
    const window = this.windowOf(view);
    window.invert = !window.invert;
    this.announce(window.invert ? "Inverted" : "Not inverted");
    this.changed();
  }

  preset(view, name) {
    const values = view.shown?.slice.values;
    if (!values) return;
    const [given, all, most] = [view.pane.window, percentiles(values, 0, 100), percentiles(values, 1, 99)];
    const found = { given, full: all, auto: most, bright: most && [(most[0] + most[1]) / 2, most[1]], dark: most && [most[0], (most[0] + most[1]) / 2] }[name];
    if (!found) return;
    const reach = Math.max(Math.abs(found[0]), Math.abs(found[1]));
    const [low, high] = view.pane.kind === "difference" ? [-reach, reach] : found;
    this.setWindow(view, low, high);
    this.announce(`Window ${show(low)} to ${show(high)}`);
  }

  // ---- pointing and measuring -----------------------------------------------------------------------------------------

  /** Whether a place in one picture is the same place in another: same size, turned the same way. */
  alike(pane, other) {
    const key = ({ shape, planes }) => JSON.stringify([shape, planes]);
    return pane === other || (this.linked && this.mode === "panes" && key(pane) === key(other));
  }

  point(view, place, quiet) {
    const { height, width } = view.drawn;
    const inside = place && place[0] >= 0 && place[1] >= 0 && place[0] < height && place[1] < width;
    this.cursor = inside ? { view, down: place[0], across: place[1], quietFor: quiet ? view : null } : null;
    this.refresh();
  }

  cursorIn(view) {
    const { cursor } = this;
    if (!cursor) return this.mode === "planes" ? this.cross(view) : null;
    if (view.axis === cursor.view.axis && this.alike(cursor.view.pane, view.pane)) return cursor;
    return this.mode === "planes" ? this.cross(view) : null;
  }

  /** In three planes: where they meet. */
  cross(view) {
    const voxel = view.own.position.map((share, axis) => Math.min(view.pane.shape[axis] - 1, Math.floor(share * view.pane.shape[axis])));
    const [down, across] = view.fromVoxel(voxel);
    return { view, down, across, quietFor: null };
  }

  /** Let the planes meet at a drawn pixel. */
  meet(view, place) {
    const { height, width } = view.drawn;
    const voxel = view.voxel(clamp(place[0], 0, height - 1e-6), clamp(place[1], 0, width - 1e-6));
    const { position } = this.stateOf(view);
    voxel.forEach((index, axis) => (position[axis] = (index + 0.5) / view.pane.shape[axis]));
    this.refresh();
  }

  /** Take a measure up again by one of its ends. */
  resume(view, measure, end = "b") {
    this.measures = this.measures.filter((other) => other !== measure);
    if (end === "a") [measure.a, measure.b] = [measure.b, measure.a];
    this.draft = measure;
    this.point(view, measure.b, false);
  }

  begin(view, tool, place) {
    this.draft = { tool, pane: view.pane, axis: view.axis, number: view.shown?.number ?? 0, a: place, b: place };
    this.refresh();
  }

  extend(place) {
    if (this.draft) this.draft.b = place;
    this.refresh();
  }

  finish() {
    const made = this.draft;
    this.draft = null;
    if (made && (Math.abs(made.a[0] - made.b[0]) > 0.5 || Math.abs(made.a[1] - made.b[1]) > 0.5)) {
      if (!made.label) {
        this.made = (this.made ?? 0) + 1;
        made.label = `${made.tool === "distance" ? "D" : "R"}${this.made}`;
      }
      this.measures.push(made);
      this.announce(`${made.label}: ${this.readings(made).map(({ title, text }) => `${title}: ${text}`).join("; ")}`);
    }
    this.changed();
  }

  measuresOf(view) {
    const all = this.draft ? [...this.measures, { label: "", ...this.draft }] : this.measures;
    return all.filter((m) => m.axis === view.axis && m.number === view.shown?.number && this.alike(m.pane, view.pane));
  }

  /** What a measure says in each picture it lies in; a length is one for all. */
  readings(measure) {
    const views = this.views.filter((view) => measure.axis === view.axis && view.shown?.number === measure.number && this.alike(measure.pane, view.pane));
    const each = views.map((view) => ({ title: view.name, text: view.reading(measure) }));
    return measure.tool === "distance" ? each.slice(0, 1) : each;
  }

  /** Show the slice of a measure, in a picture that it lies in. */
  goToMeasure(measure) {
    if (this.mode !== "panes" || this.axis !== measure.axis) this.setMode("panes", measure.axis);
    const view = this.views.find(({ pane }) => this.alike(measure.pane, pane));
    if (!view) return;
    this.activate(view);
    this.goTo(view, measure.number);
  }

  rename(measure, label) {
    if (label.trim()) measure.label = label.trim();
    this.changed();
  }

  forget(measure) {
    this.measures = measure ? this.measures.filter((kept) => kept !== measure) : [];
    this.changed();
  }

  overlayFor(view) {
    if (!this.overlay || this.mode !== "panes" || view.pane.kind !== "grey") return null;
    return this.views.find((other) => other.pane.kind === "uncertainty" && this.alike(view.pane, other.pane)) ?? null;
  }
}
