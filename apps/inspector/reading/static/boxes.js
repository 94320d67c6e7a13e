// What stands in the rail: boxes of trust, figures, facts. Text only: nothing that came from a file becomes markup.

/**
 * @param {string} name of the element
 * @param {string} [text]
 * @param {string} [className]
 * @returns {HTMLElement}
 */
export function make(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

/** A result: verdict, and once opened the lines it rests on, and files to keep. */
export function resultBox({ method, title, label, box, files, volume, seconds, samples }) {
  const root = make("details", "", `box ${box.grade}`);
  root.dataset.method = method;
  const summary = make("summary");
  summary.append(make("strong", title), ` ${box.verdict}`);
  root.append(summary);
  const list = make("ul");
  for (const line of box.lines) {
    const item = make("li", "", line.grade);
    item.append(make("strong", `${line.title}: `), line.text);
    list.append(item);
  }
  const links = make("p", "", "small");
  links.append(`${label}. ${seconds.toFixed(2)} s${samples > 1 ? `, ${samples} samples` : ""}. Keep: `);
  for (const [name, artefact] of Object.entries(files)) {
    const link = make("a", name.replace(/^.*?(_uncertainty)?(-dicom)?\.(\w+)(\.gz)?$/, (_, spread, dicom, end) => `${dicom ? "DICOM" : end === "nii" ? "NIfTI" : end.toUpperCase()}${spread ? " of the SD" : ""}`));
    Object.assign(link, { href: `/artefact/${artefact}/file?keep=true`, download: name, title: name });
    links.append(link);
  }
  if (volume) links.append(Object.assign(document.createElement("a"), { href: volume, download: "", textContent: "Whole volume, NIfTI" }));
  root.append(list, links);
  return root;
}

/** All methods in one table, each held against doing nothing. */
export function qualityTable(results, before) {
  const table = /** @type {HTMLTableElement} */ (make("table", "", "quality"));
  table.append(make("caption", "Against the complete scan, or the image that was scanned", "unseen"));
  const names = Object.keys(before).filter((name) => name !== "PSNR"); // it ranks as NMSE does; both are in the file
  const head = table.createTHead().insertRow();
  for (const name of ["Method", ...names]) head.append(Object.assign(make("th", name), { scope: "col" }));
  const rows = [["Zero-filled", before], ...results.map(({ title, quality }) => [title, quality])];
  const body = table.createTBody();
  for (const [title, quality] of rows) {
    const row = body.insertRow();
    row.append(Object.assign(make("th", title), { scope: "row" }));
    for (const name of names) {
      const worse = name === "NMSE" ? quality[name] > before[name] : quality[name] < before[name];
      row.append(make("td", Number(quality[name].toPrecision(3)).toString(), worse ? "worse" : ""));
    }
  }
  return table;
}

/** Rows of a name and a value into a list of terms. */
export function writeFacts(list, rows) {
  list.replaceChildren(...rows.flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
}
