// The volume in 3-D: a dialog around the frame with NiiVue. Windowing, values and words are ours; the frame gets grey
// levels and tells where the cross stands. See page.js of the frame.

import { level, percentiles, sane, show } from "./arithmetic.js";

const MOST_VOXELS = 64 * 2 ** 20;
const ANGLE = 10; // degrees, for one press

/** Whether this browser can draw it. */
export function hasWebGL2() {
  const context = document.createElement("canvas").getContext("webgl2");
  context?.getExtension("WEBGL_lose_context")?.loseContext();
  return Boolean(context);
}

export class VolumeView {
  /** @param dialog the dialog of the page; @param refuse called with a sentence when it cannot be shown */
  constructor(dialog, refuse) {
    this.dialog = dialog;
    this.refuse = refuse;
    this.frame = null;
    this.values = null;
    this.pane = null;
    this.low = 0;
    this.high = 1;
    this.inverted = false;
    this.find = (selector) => dialog.querySelector(selector);
    const keys = {
      ArrowLeft: () => this.move(0, 1), ArrowRight: () => this.move(0, -1),
      ArrowUp: () => this.move(1, 1), ArrowDown: () => this.move(1, -1),
      PageUp: () => this.move(2, 1), PageDown: () => this.move(2, -1),
      h: () => this.turn(-ANGLE, 0), l: () => this.turn(ANGLE, 0), j: () => this.turn(0, -ANGLE), k: () => this.turn(0, ANGLE),
      "+": () => this.send({ do: "zoom", by: 1.25 }), "-": () => this.send({ do: "zoom", by: 0.8 }),
      " ": () => this.reset(), a: () => this.auto(), i: () => this.invert(), v: () => dialog.close(), Escape: () => dialog.close(),
      1: () => this.layout("all"), 2: () => this.layout("axial"), 3: () => this.layout("coronal"), 4: () => this.layout("sagittal"), 5: () => this.layout("volume"),
    };
    this.press = (key) => (keys[key] ?? keys[key.toLowerCase()])?.();
    const acts = {
      left: keys.h, right: keys.l, down: keys.j, up: keys.k, in: keys["+"], out: keys["-"],
      reset: keys[" "], auto: keys.a, invert: keys.i, close: keys.v,
    };
    dialog.addEventListener("click", ({ target }) => {
      const button = target.closest("button");
      if (button?.dataset.layout) this.layout(button.dataset.layout);
      if (button?.dataset.solid) acts[button.dataset.solid]();
    });
    dialog.addEventListener("keydown", (event) => {
      const { target, key } = event;
      const own = target.matches("input") || (target.matches("button") && (key === " " || key === "Enter"));
      if (own || event.ctrlKey || event.metaKey || key === "Tab" || key === "Escape") return;
      event.preventDefault();
      this.press(key);
    });
    for (const id of ["#solid-low", "#solid-high"]) this.find(id).addEventListener("change", () => this.typed());
    dialog.addEventListener("close", () => this.leave());
    addEventListener("message", ({ source, data }) => {
      if (this.frame && source === this.frame.contentWindow) this.hear(data);
    });
  }

  /** Show a picture's volume under its present window. */
  async open(pane, { low, high, invert }) {
    const [z, y, x] = pane.shape;
    if (z * y * x > MOST_VOXELS) return this.refuse("This volume is too large for the 3-D view");
    Object.assign(this, { pane, low, high, inverted: invert, values: new Float32Array(z * y * x) });
    this.find("h2").textContent = pane.title;
    this.find("#solid-unit").textContent = pane.unit || "a.u.";
    this.find("#solid-place").textContent = pane.place.letters
      ? "Radiological convention: right of the patient on the left."
      : pane.planes[0].letters
        ? "The grid leans: no letters here; radiological convention."
        : "Orientation unknown: shown as stored.";
    this.update();
    this.dialog.dataset.state = "loading";
    this.dialog.showModal();
    this.find("[data-layout=all]").focus();
    try {
      let here = 0;
      await Promise.all(Array.from({ length: z }, async (_, number) => {
        const { values } = await pane.volume.slice(0, number, true, true);
        this.values?.set(values, number * y * x);
        this.say(`Loading slice ${++here} of ${z} …`);
      }));
    } catch (error) {
      return this.fail(error.message);
    }
    if (!this.dialog.open) return undefined;
    this.frame = document.createElement("iframe");
    Object.assign(this.frame, { title: "Volume in 3-D", src: "/niivue", tabIndex: -1 });
    this.frame.setAttribute("sandbox", "allow-scripts"); // no origin: nothing of ours is within its reach
    this.find(".solid").append(this.frame);
    return undefined;
  }

  hear(data) {
    const [z, y, x] = this.pane.shape;
    const heard = {
      ready: () => {
        const { place, shape, spacing } = this.pane;
        this.send({ do: "show", levels: this.levels(), shape, spacing: spacing ?? [1, 1, 1], ...place });
      },
      drawn: () => {
        this.dialog.dataset.state = "drawn";
        this.dialog.dataset.drawings = Number(this.dialog.dataset.drawings ?? 0) + 1;
        if (this.find("#solid-value").textContent.startsWith("Loading")) this.say("");
      },
      at: () => {
        const [i, j, k] = data.voxel;
        const inside = [[i, x], [j, y], [k, z]].every(([n, size]) => Number.isInteger(n) && n >= 0 && n < size);
        if (inside) this.say(`(${i}, ${j}, ${k})  ${show(this.values[(k * y + j) * x + i])}${this.pane.unit ? ` ${this.pane.unit}` : ""}`);
      },
      key: () => typeof data.key === "string" && this.press(data.key),
      failed: () => this.fail(String(data.why).slice(0, 200)),
    };
    heard[data?.said]?.();
  }

  send(message) {
    this.frame?.contentWindow.postMessage(message, "*"); // the frame has no origin that could be named
  }

  /** Grey levels of all voxels under the window: the arithmetic of the pictures. */
  levels() {
    const { low, high, inverted } = this;
    const made = new Uint8Array(this.values.length);
    this.values.forEach((value, i) => {
      if (value === value) made[i] = inverted ? 255 - level(value, low, high) : level(value, low, high);
    });
    return made.buffer;
  }

  window(low, high) {
    [this.low, this.high] = sane(low, high);
    this.send({ do: "levels", levels: this.levels() });
    this.update();
  }

  typed() {
    const [low, high] = ["#solid-low", "#solid-high"].map((id) => this.find(id).valueAsNumber);
    if (Number.isFinite(low) && Number.isFinite(high) && low < high) this.window(low, high);
    else this.say("Black must be a smaller number than white.");
  }

  auto() {
    const found = percentiles(this.values, 1, 99);
    if (found) this.window(...found);
  }

  invert() {
    this.inverted = !this.inverted;
    this.window(this.low, this.high);
  }

  reset() {
    [this.low, this.high] = this.pane.window;
    this.inverted = false;
    this.window(this.low, this.high);
    this.send({ do: "reset" });
  }

  layout(name) {
    this.send({ do: "layout", name });
    for (const button of this.dialog.querySelectorAll("[data-layout]")) button.setAttribute("aria-pressed", String(button.dataset.layout === name));
  }

  move(axis, by) {
    const step = [0, 0, 0];
    step[axis] = by;
    this.send({ do: "move", by: step });
  }

  turn(azimuth, elevation) {
    this.send({ do: "turn", by: [azimuth, elevation] });
  }

  update() {
    this.find("#solid-low").value = String(Number(this.low.toPrecision(6)));
    this.find("#solid-high").value = String(Number(this.high.toPrecision(6)));
    this.find("[data-solid=invert]").setAttribute("aria-pressed", String(this.inverted));
  }

  say(sentence) {
    this.find("#solid-value").textContent = sentence;
  }

  fail(why) {
    this.dialog.close();
    this.refuse(`The 3-D view failed (${why})`);
  }

  leave() {
    this.frame?.remove(); // and with it the memory of the graphics
    Object.assign(this, { frame: null, values: null });
    delete this.dialog.dataset.drawings;
  }
}
