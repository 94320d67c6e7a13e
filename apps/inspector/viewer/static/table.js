// Measurements as a table to keep: one line for each measure and picture, in the file's own units, with the notice.

const HEAD = ["measurement", "kind", "picture", "plane", "slice", "value", "unit", "mean", "sd", "n", "down 1", "across 1", "down 2", "across 2"];

/** A cell that no spreadsheet takes for a formula, whatever it separates cells by. */
export function cell(value) {
  const text = String(value ?? "");
  const number = /^-?[0-9.]+(e[-+]?[0-9]+)?$/.test(text);
  return number ? text : `"${(/^[=+\-@\t\r]/.test(text) ? "'" : "") + text.replaceAll('"', '""')}"`;
}

/** Rows of the table: places are in pixels of the picture as it is drawn, whole numbers at edges. */
export function tableRows(viewer) {
  return viewer.measures.flatMap((measure) => {
    const views = viewer.views.filter((view) => view.axis === measure.axis && view.shown?.number === measure.number && viewer.alike(measure.pane, view.pane));
    const places = [...measure.a, ...measure.b].map((place) => place.toFixed(3));
    const start = (picture) => [measure.label, measure.tool === "distance" ? "length" : "oval", picture, measure.pane.planes[measure.axis].name || "as stored", measure.number + 1];
    if (!views.length) return [[...start(measure.pane.title), "", "go to its slice first", "", "", "", ...places]];
    if (measure.tool === "distance") {
      const [value, unit] = views[0].reading(measure).split(" ");
      return [[...start(measure.pane.title), value, unit, "", "", "", ...places]];
    }
    return views.map((view) => {
      const { n, mean, sd } = view.statistics(measure);
      return [...start(view.name), "", view.pane.unit, mean ?? "", sd ?? "", n, ...places];
    });
  });
}

export function saveTable(viewer, notice) {
  const rows = [HEAD, ...tableRows(viewer), [notice]];
  const text = rows.map((row) => row.map(cell).join(",")).join("\r\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${text}\r\n`], { type: "text/csv" }));
  link.download = "measurements.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
