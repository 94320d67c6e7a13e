// The toolbar, the list of measurements, the help, and what they switch.

import { bindings, keyName, listenToKeys } from "./keys.js";
import { listen } from "./pointers.js";
import { savePicture } from "./saving.js";
import { VolumeView, hasWebGL2 } from "./volume.js";

export class Controls {
  constructor(viewer, root) {
    Object.assign(this, { viewer, root, tool: "window", cine: 0 });
    this.find = (selector) => root.querySelector(selector);
    this.volume = new VolumeView(this.find("#volume"), (why) => this.refuseVolume(why));
    this.connectButtons();
    this.connectFields();
    const table = bindings(viewer, this);
    this.writeHelp(table);
    listenToKeys(document, table);
    listen(viewer, viewer.grid, () => this.tool);
    for (const event of ["lay", "change", "arrived"]) viewer.addEventListener(event, () => this.later());
    viewer.addEventListener("lay", () => this.connectSliders());
    this.connectSliders();
    this.choose("window");
    this.update();
  }

  connectButtons() {
    const { viewer } = this;
    const acts = {
      auto: () => viewer.preset(viewer.active, "auto"),
      invert: () => viewer.invert(viewer.active),
      fit: () => viewer.fit(viewer.active),
      one: () => viewer.oneToOne(viewer.active),
      reset: () => viewer.reset(),
      planes: () => this.togglePlanes(),
      volume: () => this.showVolume(),
      alone: () => viewer.toggleAlone(),
      cine: () => this.toggleCine(),
      save: () => this.save(),
      help: () => this.help(),
      forget: () => viewer.forget(null),
      link: () => this.toggle("link"),
      overlay: () => this.toggle("overlay"),
      smooth: () => this.toggle("smooth"),
    };
    this.root.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button?.dataset.tool) this.choose(button.dataset.tool);
      if (button?.dataset.act) acts[button.dataset.act]?.();
    });
  }

  connectFields() {
    const { viewer } = this;
    this.find("#preset").addEventListener("change", ({ target }) => {
      if (target.value) viewer.preset(viewer.active, target.value);
      target.value = "";
    });
    const typed = () => {
      const [low, high] = ["#low", "#high"].map((id) => this.find(id).valueAsNumber);
      if (Number.isFinite(low) && Number.isFinite(high) && low < high) viewer.setWindow(viewer.active, low, high);
      else this.speak("Black must be a smaller number than white.");
    };
    for (const id of ["#low", "#high"]) this.find(id).addEventListener("change", typed);
    const plane = this.find("#plane");
    const deep = viewer.panes[0].shape[0] > 1;
    plane.closest("label").hidden = !deep;
    for (const act of ["planes", "volume", "cine"]) this.find(`[data-act=${act}]`).hidden = !deep;
    for (const { name, axis } of viewer.panes[0].planes) plane.add(new Option(name, String(axis)));
    plane.addEventListener("change", () => viewer.setMode("panes", Number(plane.value)));
    const difference = this.find("#difference");
    difference.closest("label").hidden = !viewer.pairs.length;
    viewer.pairs.forEach(([a, b], i) => difference.add(new Option(`${a.title} − ${b.title}`, String(i))));
    difference.addEventListener("change", () => viewer.setDifference(Number(difference.value)));
    const unsure = viewer.panes.some(({ kind }) => kind === "uncertainty") && viewer.panes.some(({ kind }) => kind === "grey");
    this.find("[data-act=overlay]").hidden = !unsure;
    this.find("#opacity").addEventListener("input", ({ target }) => {
      viewer.opacity = Number(target.value) / 100;
      viewer.refresh();
    });
    const several = viewer.panes.length > 1;
    for (const act of ["link", "alone"]) this.find(`[data-act=${act}]`).hidden = !several && !deep;
  }

  connectSliders() {
    for (const view of this.viewer.views) {
      view.slider?.addEventListener("input", () => this.viewer.goTo(view, Number(view.slider.value) - 1));
      view.stage.addEventListener("focus", () => view !== this.viewer.active && this.viewer.activate(view));
    }
  }

  choose(tool) {
    this.tool = tool;
    for (const button of this.root.querySelectorAll("[data-tool]")) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
      if (button.dataset.tool === tool) this.speak(`Tool: ${button.textContent}`);
    }
    this.viewer.grid.dataset.tool = tool;
  }

  toggle(what) {
    const { viewer } = this;
    if (this.find(`[data-act=${what}]`).hidden) return;
    if (what === "link") viewer.setLinked(!viewer.linked);
    else viewer[what] = !viewer[what];
    viewer.changed();
    this.speak(`${what} ${viewer[what === "link" ? "linked" : what] ? "on" : "off"}`);
  }

  togglePlanes() {
    const { viewer } = this;
    if (this.find("[data-act=planes]").hidden) return;
    viewer.setMode(viewer.mode === "planes" ? "panes" : "planes");
    this.speak(viewer.mode === "planes" ? "Three planes" : "Pictures side by side");
  }

  /** The volume in 3-D, where this browser can; three planes where it cannot. */
  showVolume() {
    const { viewer } = this;
    if (this.find("[data-act=volume]").hidden) return;
    // A difference or an uncertainty is read in planes: a rendering would make surfaces of it.
    const view = [viewer.active, ...viewer.views].find(({ pane }) => pane.kind === "grey");
    if (!view) this.speak("Only images are shown in 3-D");
    else if (!hasWebGL2()) this.refuseVolume("This browser draws no 3-D (it has no WebGL2)");
    else this.volume.open(view.pane, viewer.windowOf(view));
  }

  refuseVolume(why) {
    const line = this.find("#refused");
    line.textContent = `${why}: three planes are shown instead.`;
    line.hidden = false;
    if (this.viewer.mode !== "planes") this.viewer.setMode("planes");
  }

  toggleDifference() {
    if (!this.viewer.pairs.length) return;
    this.viewer.setDifference(this.viewer.difference ? -1 : 0);
    this.speak(this.viewer.difference ? `Difference: ${this.viewer.difference.title}` : "No difference");
  }

  toggleCine() {
    clearInterval(this.cine);
    this.cine = this.cine ? 0 : setInterval(() => this.turn(), 100);
    this.update();
  }

  turn() {
    const { active } = this.viewer;
    this.viewer.goTo(active, (active.wanted + 1) % active.count);
  }

  async save() {
    this.speak((await savePicture(this.viewer.active, this.root.dataset.notice)) ? "Picture saved" : "Nothing to save yet");
  }

  help() {
    const dialog = this.find("#help");
    if (dialog.open) dialog.close();
    else dialog.showModal();
  }

  writeHelp(table) {
    const rows = this.find("#keys");
    for (const [keys, words] of table) {
      const row = rows.insertRow();
      const head = document.createElement("th");
      head.scope = "row";
      keys.forEach((key, i) => {
        if (i) head.append(" or ");
        head.append(Object.assign(document.createElement("kbd"), { textContent: keyName(key) }));
      });
      row.append(head);
      row.insertCell().textContent = words;
    }
  }

  speak(sentence) {
    this.find("#spoken").textContent = sentence;
  }

  later() {
    this.pending ??= requestAnimationFrame(() => {
      this.pending = null;
      this.update();
    });
  }

  /** Bring the toolbar up to date with the state. */
  update() {
    const { viewer } = this;
    const { low, high, invert } = viewer.windowOf(viewer.active);
    const press = (act, on) => this.find(`[data-act=${act}]`).setAttribute("aria-pressed", String(Boolean(on)));
    press("invert", invert);
    press("link", viewer.linked);
    press("overlay", viewer.overlay);
    press("smooth", viewer.smooth);
    press("planes", viewer.mode === "planes");
    press("alone", viewer.alone);
    press("cine", this.cine);
    this.find("#opacity").closest("label").hidden = !viewer.overlay;
    this.find("#difference").value = viewer.difference ? this.find("#difference").value.replace("-1", "0") : "-1";
    this.find("#plane").value = String(viewer.axis);
    for (const [id, value] of [["#low", low], ["#high", high]]) {
      const field = this.find(id);
      if (document.activeElement !== field) field.value = String(Number(value.toPrecision(6)));
    }
    this.find("#of").textContent = viewer.active.pane.unit || "a.u.";
    this.writeMeasures();
  }

  writeMeasures() {
    const { viewer } = this;
    const box = this.find("#measures");
    box.hidden = !viewer.measures.length;
    const list = box.querySelector("ul");
    list.replaceChildren();
    for (const measure of viewer.measures) {
      const item = document.createElement("li");
      const readings = viewer.readings(measure);
      const where = `${measure.label}, slice ${measure.number + 1}`;
      const text = readings.map(({ title, text }) => (measure.tool === "distance" ? text : `${title}: ${text}`)).join("; ");
      item.append(`${where}: ${text || "not in the pictures shown"} `);
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: "Remove" });
      button.setAttribute("aria-label", `Remove ${measure.label}`);
      button.addEventListener("click", () => viewer.forget(measure));
      item.append(button);
      list.append(item);
    }
  }
}

