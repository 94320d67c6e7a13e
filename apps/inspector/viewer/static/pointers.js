// Mouse, pen and touch on the pictures: left button the chosen tool, middle pans, right zooms, wheel turns slices.

const TOOL_OF_BUTTON = { 1: "pan", 2: "zoom" };

export function listen(viewer, grid, chosenTool) {
  const viewAt = (target) => viewer.views.find((view) => view.root.contains(target));
  const onStage = (event) => event.target instanceof Element && event.target.closest(".stage");
  const down = new Map();
  let drag = null;
  let turned = 0;

  grid.addEventListener("pointerdown", (event) => {
    const view = viewAt(event.target);
    if (!view) return;
    if (view !== viewer.active) viewer.activate(view);
    if (!onStage(event)) return;
    view.stage.focus({ preventScroll: true });
    event.preventDefault();
    view.stage.setPointerCapture(event.pointerId);
    down.set(event.pointerId, [event.clientX, event.clientY]);
    if (down.size === 2) {
      viewer.draft = null;
      drag = { view, tool: "pinch" };
      return;
    }
    const tool = event.shiftKey ? "pan" : (TOOL_OF_BUTTON[event.button] ?? chosenTool());
    const place = view.toImage(event.clientX, event.clientY);
    drag = { view, tool, place };
    const handle = tool === "pan" || tool === "zoom" ? null : view.handleAt(event.clientX, event.clientY);
    if (handle) {
      drag.tool = "end";
      viewer.resume(view, handle.measure, handle.end);
      return;
    }
    if (tool === "distance" || tool === "roi") viewer.begin(view, tool, place);
    if (tool === "crosshair") viewer.meet(view, place);
  });

  grid.addEventListener("pointermove", (event) => {
    const { clientX, clientY } = event;
    const last = down.get(event.pointerId);
    if (!last || !drag) {
      const view = onStage(event) && viewAt(event.target);
      if (view) viewer.point(view, view.toImage(clientX, clientY), true);
      return;
    }
    const { view, tool } = drag;
    const [dx, dy] = [clientX - last[0], clientY - last[1]];
    if (tool === "pinch") pinch(view, event.pointerId, [clientX, clientY]);
    down.set(event.pointerId, [clientX, clientY]);
    const place = view.toImage(clientX, clientY);
    if (tool === "window") viewer.dragWindow(view, dx, dy);
    if (tool === "pan") viewer.pan(view, dx, dy);
    if (tool === "zoom") viewer.zoom(view, Math.exp(-dy / 150), drag.place);
    if (tool === "slice") {
      turned += dy;
      const by = Math.trunc(turned / 8);
      turned -= 8 * by;
      if (by) viewer.step(view, by);
    }
    if (tool === "crosshair") viewer.meet(view, place);
    if (viewer.draft) viewer.extend(place);
    else viewer.point(view, place, true);
  });

  const lift = (event) => {
    if (!down.delete(event.pointerId)) return;
    if (viewer.draft) viewer.finish();
    if (!down.size) drag = null;
  };
  grid.addEventListener("pointerup", lift);
  grid.addEventListener("pointercancel", lift);
  grid.addEventListener("pointerleave", () => viewer.cursor?.quietFor && viewer.point(viewer.active, null));
  grid.addEventListener("contextmenu", (event) => onStage(event) && event.preventDefault());
  grid.addEventListener("dblclick", (event) => onStage(event) && viewer.toggleAlone());

  let rolled = 0;
  grid.addEventListener(
    "wheel",
    (event) => {
      const view = onStage(event) && viewAt(event.target);
      if (!view) return;
      // A page around the picture scrolls where there is no slice to turn to.
      const ended = event.deltaY < 0 ? view.wanted === 0 : view.wanted === view.count - 1;
      if (!event.ctrlKey && ended) return;
      event.preventDefault();
      if (event.ctrlKey) {
        viewer.zoom(view, Math.exp(-event.deltaY / 300), view.toImage(event.clientX, event.clientY));
        return;
      }
      // A notch of a mouse wheel is one slice; a trackpad sends many small steps, which add up.
      rolled = event.deltaMode || Math.abs(event.deltaY) >= 50 ? Math.sign(event.deltaY) * 50 : rolled + event.deltaY;
      const by = Math.trunc(rolled / 50);
      rolled -= 50 * by;
      if (by) viewer.step(view, by);
    },
    { passive: false },
  );

  function pinch(view, moved, now) {
    const [other] = [...down].filter(([id]) => id !== moved).map(([, place]) => place);
    const before = down.get(moved);
    if (!other) return;
    const span = (a, b) => Math.max(10, Math.hypot(a[0] - b[0], a[1] - b[1]));
    const middle = [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2];
    viewer.zoom(view, span(now, other) / span(before, other), view.toImage(...middle));
    viewer.pan(view, (now[0] - before[0]) / 2, (now[1] - before[1]) / 2);
  }
}
