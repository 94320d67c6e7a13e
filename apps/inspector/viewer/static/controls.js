// The toolbar, the list of measurements, the help, and what they switch.

import { bindings, keyName, listenToKeys } from "./keys.js";
import { listen } from "./pointers.js";
import { savePicture } from "./saving.js";
import { saveTable } from "./table.js";
import { VolumeView, hasWebGL2 } from "./volume.js";

const FLICKER = 500; // milliseconds

export class Controls {
  constructor(viewer, root) {
    this.viewer = viewer;
    this.root = root;
    this.tool = "window";
    this.cine = 0;
    this.flicker = 0;
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
    viewer.addEventListener("panes", () => this.fitPanes());
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
      table: () => saveTable(viewer, this.root.dataset.notice),
      flicker: () => this.toggleFlicker(),
      screen: () => this.fillScreen(),
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
    plane.addEventListener("change", () => viewer.setMode("panes", Number(plane.value)));
    const difference = this.find("#difference");
    difference.addEventListener("change", () => viewer.setDifference(Number(difference.value)));
    const beside = this.find("#beside");
    beside.addEventListener("change", () => this.compare());
    this.find("#wipe").addEventListener("input", () => this.compare());
    this.find("#opacity").addEventListener("input", ({ target }) => {
      viewer.opacity = Number(target.value) / 100;
      viewer.refresh();
    });
    this.fitPanes();
  }

  /** What can be done with the pictures that are shown: planes of volumes, differences of pairs. */
  fitPanes() {
    const { viewer } = this;
    const deep = viewer.panes[0].shape[0] > 1;
    const plane = this.find("#plane");
    plane.closest("label").hidden = !deep;
    for (const act of ["planes", "volume", "cine"]) this.find(`[data-act=${act}]`).hidden = !deep;
    plane.replaceChildren(...viewer.panes[0].planes.map(({ name, axis }) => new Option(name, String(axis))));
    const difference = this.find("#difference");
    difference.closest("label").hidden = !viewer.pairs.length;
    const named = viewer.pairs.map(([a, b], i) => new Option(`${a.title} − ${b.title}`, String(i)));
    difference.replaceChildren(new Option("no difference", "-1"), ...named);
    const unsure = viewer.panes.some(({ kind }) => kind === "uncertainty") && viewer.panes.some(({ kind }) => kind === "grey");
    this.find("[data-act=overlay]").hidden = !unsure;
    const several = viewer.panes.length > 1;
    for (const act of ["link", "alone"]) this.find(`[data-act=${act}]`).hidden = !several && !deep;
    const others = viewer.panes.flatMap(({ title, kind }, i) => (kind === "grey" ? [new Option(title, String(i))] : []));
    this.find("#beside").replaceChildren(new Option("no comparison", ""), ...others);
    this.find("#beside").closest(".group").hidden = others.length < 2;
    this.stopFlicker();
  }

  // ---- one picture in the place of another ---------------------------------------------------------------------------

  compare(share = this.find("#wipe").valueAsNumber / 100) {
    const { value } = this.find("#beside");
    this.viewer.compare(value === "" ? null : Number(value), share);
    if (value === "") this.stopFlicker();
  }

  /** Show the active picture and the other one in turn; without another chosen, the first that can be compared. */
  toggleFlicker() {
    if (this.flicker) return this.stopFlicker();
    const { viewer } = this;
    const beside = this.find("#beside");
    const fits = (i) => viewer.views[i] !== viewer.active && viewer.alike(viewer.views[i].pane, viewer.active.pane);
    const choices = [...beside.options].map(({ value }) => value).filter((value) => value !== "" && fits(Number(value)));
    if (viewer.mode !== "panes" || !choices.length) return this.speak("There is no other picture to flicker with");
    if (!choices.includes(beside.value)) [beside.value] = choices;
    let other = false;
    this.flicker = setInterval(() => {
      other = !other;
      this.compare(other ? 0 : 1);
    }, FLICKER);
    this.find("[data-act=flicker]").setAttribute("aria-pressed", "true");
    return this.speak(`Flickers with ${beside.selectedOptions[0].textContent}`);
  }

  stopFlicker() {
    clearInterval(this.flicker);
    this.flicker = 0;
    this.find("[data-act=flicker]").setAttribute("aria-pressed", "false");
    if (this.find("#beside").value !== "") this.compare();
  }

  fillScreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else this.find(".screen").requestFullscreen?.();
  }

  connectSliders() {
    for (const view of this.viewer.views) {
      view.slider?.addEventListener("input", () => this.viewer.goTo(view, Number(view.slider.value) - 1));
      view.stage.addEventListener("focus", () => view !== this.viewer.active && this.viewer.activate(view));
    }
  }

  choose(tool) {
    this.tool = tool;
    for (const button of this.root.querySelectorAll("button[data-tool]")) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
      if (button.dataset.tool === tool) this.speak(`Tool: ${button.getAttribute("aria-label")}`);
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
    // Names of icons come up under a mouse; a finger finds them here.
    for (const button of this.root.querySelectorAll(".bar button:has(svg)")) {
      const row = this.find("#icons").insertRow();
      const head = Object.assign(document.createElement("th"), { scope: "row" });
      head.append(button.querySelector("svg").cloneNode(true), button.getAttribute("aria-label"));
      row.append(head);
      row.insertCell().textContent = button.title;
    }
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

  /** Take up the end of a measure: by keyboard, as it was made; by mouse it is dragged. */
  moveEnd(measure) {
    const { viewer } = this;
    viewer.goToMeasure(measure);
    this.choose(measure.tool);
    viewer.resume(viewer.active, measure);
    viewer.active.stage.focus();
    this.speak("Move the cross with Shift and the arrow keys, then press Enter.");
  }

  writeMeasures() {
    const { viewer } = this;
    const box = this.find("#measures");
    box.hidden = !viewer.measures.length;
    const list = box.querySelector("ul");
    if (list.contains(document.activeElement) && document.activeElement.matches("input")) return; // being renamed
    list.replaceChildren();
    for (const measure of viewer.measures) {
      const item = document.createElement("li");
      const readings = viewer.readings(measure);
      const where = `, slice ${measure.number + 1}`;
      const name = Object.assign(document.createElement("input"), { value: measure.label, size: 8, maxLength: 40 });
      name.setAttribute("aria-label", `Name of ${measure.label}`);
      name.addEventListener("change", () => viewer.rename(measure, name.value));
      const text = readings.map(({ title, text }) => (measure.tool === "distance" ? text : `${title}: ${text}`)).join("; ");
      item.append(name, `${where}: ${text || "not in the pictures shown"} `);
      const button = (words, act) => {
        const made = Object.assign(document.createElement("button"), { type: "button", textContent: words });
        made.setAttribute("aria-label", `${words} ${measure.label}`);
        made.addEventListener("click", act);
        item.append(made);
      };
      button("Go to", () => viewer.goToMeasure(measure));
      button("Move end", () => this.moveEnd(measure));
      button("Remove", () => viewer.forget(measure));
      list.append(item);
    }
  }
}

