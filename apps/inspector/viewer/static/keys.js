// The keyboard. Keys act on the picture that is active, when neither a field nor a list is being edited.

const SMALL = 0.04; // of the window's width, for one press

/** What each key does: [keys, words for the help, action]. */
export function bindings(viewer, controls) {
  const on = (act) => () => act(viewer.active);
  const shift = (share) => on((view) => {
    const { low, high } = viewer.windowOf(view);
    const by = share * (high - low);
    viewer.setWindow(view, low + by, high + by);
  });
  const widen = (share) => on((view) => {
    const { low, high } = viewer.windowOf(view);
    const by = (share * (high - low)) / 2;
    viewer.setWindow(view, low - by, high + by);
  });
  const tool = (name) => () => controls.choose(name);
  const preset = (name) => on((view) => viewer.preset(view, name));
  const point = (down, across) => on((view) => {
    const known = viewer.cursor?.view === view ? viewer.cursor : null;
    const { height, width } = view.drawn;
    const at = known ?? { down: height / 2, across: width / 2 };
    const place = [Math.floor(at.down) + 0.5 + (known ? down : 0), Math.floor(at.across) + 0.5 + (known ? across : 0)];
    const inside = [Math.min(height - 0.5, Math.max(0.5, place[0])), Math.min(width - 0.5, Math.max(0.5, place[1]))];
    viewer.point(view, inside, false);
    if (controls.tool === "crosshair") viewer.meet(view, inside);
    if (viewer.draft) viewer.extend(inside);
    controls.speak(view.sayValue(viewer.cursor ?? { down: -1, across: -1 }));
  });
  const mark = on((view) => {
    if (viewer.draft) return viewer.finish();
    const { cursor } = viewer;
    const measuring = controls.tool === "distance" || controls.tool === "roi";
    if (!measuring || cursor?.view !== view) {
      viewer.announce("Choose Length or Region, move the cross with Shift and the arrow keys, then press Enter.");
      return undefined;
    }
    viewer.begin(view, controls.tool, [cursor.down, cursor.across]);
    return viewer.announce("First point set; move the cross and press Enter again.");
  });
  return [
    [["ArrowUp", "ArrowLeft"], "previous slice", on((view) => viewer.step(view, -1))],
    [["ArrowDown", "ArrowRight"], "next slice", on((view) => viewer.step(view, 1))],
    [["PageUp"], "ten slices back", on((view) => viewer.step(view, -10))],
    [["PageDown"], "ten slices on", on((view) => viewer.step(view, 10))],
    [["Home"], "first slice", on((view) => viewer.goTo(view, 0))],
    [["End"], "last slice", on((view) => viewer.goTo(view, view.count - 1))],
    [["c"], "run through the slices, or stop", () => controls.toggleCine()],
    [["1"], "window: as given", preset("given")],
    [["2", "a"], "window: automatic (1st to 99th percentile of the slice)", preset("auto")],
    [["3"], "window: full range of the slice", preset("full")],
    [["4"], "window: bright half", preset("bright")],
    [["5"], "window: dark half", preset("dark")],
    [["i"], "invert", on((view) => viewer.invert(view))],
    [["["], "level down", shift(-SMALL)],
    [["]"], "level up", shift(SMALL)],
    [["{", "n"], "narrower window", widen(-2 * SMALL)],
    [["}", "b"], "broader window", widen(2 * SMALL)],
    [["+"], "zoom in", on((view) => viewer.zoom(view, 1.25))],
    [["-"], "zoom out", on((view) => viewer.zoom(view, 0.8))],
    [["=", "0"], "fit the picture", on((view) => viewer.fit(view))],
    [["Alt+ArrowLeft"], "move the picture left", on((view) => viewer.pan(view, -30, 0))],
    [["Alt+ArrowRight"], "move the picture right", on((view) => viewer.pan(view, 30, 0))],
    [["Alt+ArrowUp"], "move the picture up", on((view) => viewer.pan(view, 0, -30))],
    [["Alt+ArrowDown"], "move the picture down", on((view) => viewer.pan(view, 0, 30))],
    [["Shift+ArrowLeft"], "move the cross left and hear the value", point(0, -1)],
    [["Shift+ArrowRight"], "move the cross right", point(0, 1)],
    [["Shift+ArrowUp"], "move the cross up", point(-1, 0)],
    [["Shift+ArrowDown"], "move the cross down", point(1, 0)],
    [["Enter"], "set a point of a length or region at the cross", mark],
    [["w"], "tool: window", tool("window")],
    [["p"], "tool: pan", tool("pan")],
    [["z"], "tool: zoom", tool("zoom")],
    [["x"], "tool: crosshair", tool("crosshair")],
    [["l"], "tool: length", tool("distance")],
    [["o"], "tool: region (oval)", tool("roi")],
    [["Delete", "Backspace"], "remove the last measurement", () => viewer.forget(viewer.measures.at(-1) ?? null)],
    [["k"], "link or unlink the pictures", () => controls.toggle("link")],
    [["m"], "three planes, or back to the pictures", () => controls.togglePlanes()],
    [["v"], "the volume in 3-D", () => controls.showVolume()],
    [["d"], "difference of the first two pictures, or none", () => controls.toggleDifference()],
    [["y"], "flicker with another picture, or stop", () => controls.toggleFlicker()],
    [["u"], "uncertainty over the picture, or not", () => controls.toggle("overlay")],
    [["s"], "smooth or plain pixels", () => controls.toggle("smooth")],
    [["f"], "this picture alone, or all", () => viewer.toggleAlone()],
    [["e"], "save this picture as PNG", () => controls.save()],
    [[" "], "reset window, zoom and place", () => viewer.reset()],
    [["?"], "this help", () => controls.help()],
  ];
}

const NAMES = { " ": "Space", ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→" };

/** A key as it is written on it. */
export const keyName = (key) =>
  key.split("+").map((part) => NAMES[part] ?? part).filter(Boolean).join(" + ") || "+";

export function listenToKeys(root, table) {
  const actions = new Map(table.flatMap(([keys, , action]) => keys.map((key) => [key, action])));
  root.addEventListener("keydown", (event) => {
    const { target, key } = event;
    if (event.ctrlKey || event.metaKey || target.closest?.("dialog")) return;
    const field = target.matches?.("input, select, textarea");
    const button = target.matches?.("button, summary, a");
    if (field || (button && (key === " " || key === "Enter"))) return;
    const arrow = key.startsWith("Arrow");
    const name = (event.altKey && arrow ? "Alt+" : "") + (event.shiftKey && arrow ? "Shift+" : "") + key;
    if (event.altKey && !arrow) return;
    const action = actions.get(name) ?? actions.get(name.toLowerCase());
    if (!action) return;
    event.preventDefault();
    action();
  });
}
