// The page for reading: choose a scan, see it, run methods on the slice that is shown, read what can be trusted.
// What belongs to a scan that is no longer chosen is thrown away, whatever it was and whenever it comes.

import { Controls } from "/viewer/static/controls.js";
import { Viewer } from "/viewer/static/viewer.js";
import { ask, send } from "./asking.js";
import { make, qualityTable, resultBox, writeFacts } from "./boxes.js";

const find = (selector) => document.querySelector(selector);
const AS_MEASURED = "As measured";
let turn = 0; // of the scan that is chosen: grows with every choice
let scan = null; // what the server said of it last
let speed = AS_MEASURED;
let sending = null; // what ends the upload that is going on
let viewer = null;
let shown = ""; // the panes in the viewer, as one text
let sliceKey = "";
let chosen = new Set(["l1_wavelet", "cg_sense"]);

// ---- names: the server never learns what a file is called ------------------------------------------------------------

const names = JSON.parse(sessionStorage.getItem("names") ?? "{}");
const nameOf = ({ title, source }) => (names[source] ? `${title} (${names[source]})` : title);
function remember(upload, name) {
  names[upload] = name;
  sessionStorage.setItem("names", JSON.stringify(names));
}

// ---- what is said ----------------------------------------------------------------------------------------------------

function tell(sentence, problem = false, share = undefined) {
  const line = find("#status");
  line.textContent = sentence;
  line.classList.toggle("problem", problem);
  line.setAttribute("role", problem ? "alert" : "status");
  const bar = find("#progress");
  bar.hidden = share === undefined;
  if (share === null) bar.removeAttribute("value");
  else if (share !== undefined) bar.value = share;
}

/** Nothing of the scan before is left to be taken for the next one's. */
function blank(title) {
  scan = null;
  shown = sliceKey = "";
  speed = AS_MEASURED;
  find("#identity").textContent = title;
  for (const id of ["#notes", "#facts", "#results", "#methods", "#accelerations"]) find(id).replaceChildren();
  for (const id of ["#viewer", "#doing", "#about", "#story", "#stop", "#volume-choice", "#compare-place"]) find(id).hidden = true;
  find("#empty").hidden = false;
  find("#empty").textContent = title;
}

// ---- choosing --------------------------------------------------------------------------------------------------------

async function choose(chosen) {
  if (!chosen.length) return;
  // What a Mac or a file manager lays beside scans: ._name, .DS_Store
  const visible = chosen.filter(({ name }) => !name.startsWith("."));
  const files = visible.length ? visible : chosen;
  const hidden = chosen.length - files.length;
  const mine = ++turn;
  sending?.abort();
  sending = new AbortController();
  const more = [files.length > 1 ? ` and ${files.length - 1} more` : "", hidden ? `, hidden files left out: ${hidden}` : ""];
  const name = files[0].name + more.join("");
  blank(`Reading ${name} …`);
  tell("Sending …", false, null);
  try {
    const upload = await send([...files], (text) => mine === turn && tell(text, false, null), sending.signal);
    if (mine !== turn) return;
    remember(upload, name);
    await open({ upload }, mine);
  } catch (error) {
    if (mine === turn) fail(error, name);
  }
}

async function open(what, mine = ++turn) {
  if (mine !== turn) return;
  tell("Reading …", false, null);
  try {
    const account = await ask("/reading/open", what);
    if (mine !== turn) return;
    take(account);
    listScans();
    if (!account.example) await work([current()], [], mine);
  } catch (error) {
    if (mine === turn) fail(error, "");
  }
}

function fail(error, name) {
  blank(name ? `${name} could not be opened` : "No scan is open");
  tell(error.message, true);
}

async function listScans() {
  const { scans, examples } = await ask("/reading/scans");
  const list = find("#scans");
  const options = scans.map((one) => new Option(nameOf(one), one.id));
  for (let n = 0; n < examples; n++) options.push(new Option(`Held-out example ${n + 1}`, `example ${n}`));
  list.replaceChildren(new Option("Choose …", ""), ...options.filter(({ text }, i) => options.findIndex((other) => other.text === text) === i));
  list.value = scan?.id ?? "";
  return scans;
}

async function reopen(id) {
  const mine = ++turn;
  blank("Opening …");
  try {
    const account = await ask(`/reading/scan/${encodeURIComponent(id)}`);
    if (mine !== turn) return false;
    const busiest = account.latest ?? AS_MEASURED;
    take(busiest === AS_MEASURED ? account : await ask(`/reading/scan/${encodeURIComponent(id)}?acceleration=${encodeURIComponent(busiest)}`));
    follow(mine);
    return true;
  } catch {
    return false;
  }
}

// ---- working ---------------------------------------------------------------------------------------------------------

/** The slice that is in the picture, counted from 0. */
const current = () => (viewer && scan && viewer.axis === 0 && viewer.views[0] && shown ? viewer.views[0].wanted : (scan?.start ?? 0));

async function work(slices, methods, mine = turn) {
  try {
    const samples = Number(find("#samples").value);
    const account = await ask("/reading/work", { scan: scan.id, slices, acceleration: speed, methods, samples });
    if (mine !== turn) return;
    take(account);
    await follow(mine);
  } catch (error) {
    if (mine === turn) tell(error.message, true);
  }
}

let following = 0;
async function follow(mine) {
  const own = ++following;
  while (own === following && mine === turn && scan?.busy) {
    const address = `/reading/scan/${encodeURIComponent(scan.id)}?since=${scan.version}&acceleration=${encodeURIComponent(speed)}`;
    try {
      const account = await ask(address);
      if (own === following && mine === turn) take(account);
    } catch (error) {
      if (own === following && mine === turn) tell(error.message, true);
      return;
    }
  }
}

// ---- showing ---------------------------------------------------------------------------------------------------------

function take(account) {
  const same = scan?.id === account.id;
  scan = account;
  speed = account.acceleration;
  find("#empty").hidden = true;
  for (const id of ["#viewer", "#doing", "#about", "#compare-place"]) find(id).hidden = false;
  if (!same) keepAddress(scan.id);
  showPanes(same);
  writeControls();
  tell(scan.problem || scan.busy, Boolean(scan.problem), scan.busy ? scan.progress : undefined);
  find("#stop").hidden = !scan.busy;
  writeIdentity();
  writeSlice();
}

/** Every scan has an address, and Back goes to the scan before. */
function keepAddress(id) {
  const here = new URLSearchParams(location.search).get("scan");
  if (here !== id) history[here ? "pushState" : "replaceState"](null, "", `/?scan=${encodeURIComponent(id)}`);
}

function showPanes(same) {
  const key = scan.panes.map(({ source }) => source).join();
  if (viewer && key === shown) {
    for (const { volume } of viewer.panes) volume.forget();
    for (const view of viewer.views) view.shown = null;
    viewer.refresh();
    return;
  }
  const first = !viewer;
  if (first) {
    viewer = new Viewer(find("#panes"), scan.panes, (sentence) => (find("#spoken").textContent = sentence));
    new Controls(viewer, document.body);
    find("#compare-place").append(find(".compare"));
    for (const event of ["change", "arrived", "lay"]) viewer.addEventListener(event, () => { writeIdentity(); writeSlice(); });
    viewer.addEventListener("active", openBox);
  } else viewer.setPanes(scan.panes, same);
  shown = key;
  if (!same) viewer.goTo(viewer.views[0], scan.start);
}

function writeControls() {
  const speeds = find("#accelerations");
  if (!speeds.children.length) {
    for (const value of scan.accelerations) {
      const label = make("label", "", "line");
      const input = Object.assign(document.createElement("input"), { type: "radio", name: "speed", value });
      label.append(input, value === AS_MEASURED ? value : `R ${value}`);
      speeds.append(label);
    }
  }
  for (const input of speeds.querySelectorAll("input")) input.checked = input.value === speed;
  const methods = find("#methods");
  const key = JSON.stringify(scan.methods);
  if (methods.dataset.key !== key || !methods.children.length) {
    methods.dataset.key = key;
    methods.replaceChildren(...scan.methods.map(({ name, title, why, slow }) => {
      const label = make("label", "", "line");
      const input = Object.assign(document.createElement("input"), { type: "checkbox", value: name, checked: chosen.has(name) && !why, disabled: Boolean(why) });
      if (slow) input.dataset.slow = "";
      label.append(input, title);
      label.title = why;
      return label;
    }));
    const reasons = new Set(scan.methods.map(({ why }) => why).filter(Boolean));
    methods.append(...[...reasons].map((why) => make("p", why, "why")));
  }
  find("#go-all").hidden = scan.count < 2;
  find("#volume-choice").hidden = scan.volumes < 2;
  const volumes = find("#volumes");
  if (scan.volumes > 1) {
    volumes.replaceChildren(...Array.from({ length: scan.volumes }, (_, n) => new Option(`${n + 1} of ${scan.volumes}`, String(n))));
    volumes.value = String(scan.volume);
  }
  const list = find("#scans");
  if ([...list.options].some(({ value }) => value === scan.id)) list.value = scan.id;
}

function writeIdentity() {
  if (!scan) return;
  const where = scan.count > 1 ? ` · slice ${current() + 1} of ${scan.count}` : "";
  const words = `${nameOf(scan)}${where} · ${speed === AS_MEASURED ? "as measured" : `R ${speed}`}`;
  if (find("#identity").textContent !== words) find("#identity").textContent = document.title = words;
  find("#which").textContent = scan.count > 1 ? `slice ${current() + 1}` : "";
}

const LOOK_AGAIN = 2000; // milliseconds after a question about a slice was lost
let lookedAgain = "";

/** What is known of the slice in the picture; asked for anew when the slice, or what is known, has changed. */
async function writeSlice() {
  if (!scan) return;
  const [mine, number] = [turn, current()];
  const key = [scan.id, number, speed, scan.version].join();
  if (key === sliceKey) return;
  const moved = sliceKey.split(",").slice(0, 3).join() !== key.split(",").slice(0, 3).join();
  sliceKey = key;
  if (moved) find("#results").replaceChildren(); // never one slice's verdict beside another's picture
  writeFacts(find("#facts"), scan.file);
  find("#notes").replaceChildren(...scan.notes.map((sentence) => make("li", sentence)));
  try {
    const known = await ask(`/reading/slice/${encodeURIComponent(scan.id)}/${number}?acceleration=${encodeURIComponent(speed)}`);
    if (mine !== turn || key !== sliceKey) return;
    writeFacts(find("#facts"), [...scan.file, ...known.facts]);
    const boxes = known.results.map(resultBox);
    const judged = known.results.filter(({ quality }) => Object.keys(quality).length);
    if (judged.length) boxes.unshift(qualityTable(judged, judged[0].before));
    find("#results").replaceChildren(...boxes);
    openBox();
  } catch (error) {
    if (key === sliceKey) {
      sliceKey = ""; // asked for again with the next look at it, or by itself, once
      if (lookedAgain !== key) setTimeout(() => void writeSlice(), LOOK_AGAIN);
      lookedAgain = key;
    }
    if (mine === turn) tell(error.message, true);
  }
}

/** The box of the picture that is active stands open. */
function openBox() {
  const title = viewer.active?.pane.title ?? "";
  const boxes = [...find("#results").querySelectorAll("details")];
  const own = boxes.find((box) => title.endsWith(box.querySelector("strong").textContent)) ?? boxes.at(-1);
  for (const box of boxes) box.open = box === own;
}

// ---- the first case ----------------------------------------------------------------------------------------------------

/** One held-out case, reconstructed, with its story; nothing where the run has none. */
async function showFirst() {
  const mine = ++turn;
  try {
    tell("Opening a held-out case …", false, null);
    const account = await ask("/reading/open", { example: 0 });
    if (mine !== turn) return;
    take(account);
    speed = account.usual;
    chosen = new Set(account.first);
    find("#methods").replaceChildren();
    const story = find("#story");
    story.hidden = false;
    const what = account.shows ? `, which knows ${account.shows}` : "";
    story.textContent = `A case held out of the training of ${document.body.dataset.model}${what}: the first picture has all lines, every other one is made from one in ${speed} of them.`;
    await work([0], account.first, mine);
    if (mine === turn) await listScans();
  } catch {
    if (mine !== turn) return;
    blank("Choose a scan, or drop its files anywhere on this page. Its picture appears here.");
    find("#identity").textContent = "No scan is open";
    tell("");
  }
}

// ---- connections -------------------------------------------------------------------------------------------------------

find("#scan-file").addEventListener("change", ({ target }) => {
  choose([...target.files]);
  target.value = ""; // the same file may be chosen again
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  choose([...event.dataTransfer.files]);
});
find("#scans").addEventListener("change", ({ target }) => {
  const [kind, number] = target.value.split(" ");
  if (kind === "example") {
    blank("Opening …");
    open({ example: Number(number) });
  } else if (target.value) reopen(target.value);
});
addEventListener("popstate", () => {
  const before = new URLSearchParams(location.search).get("scan");
  if (before) reopen(before).then((open) => open || fail(new Error("That scan is closed; choose its file again."), ""));
});
find("#volumes").addEventListener("change", ({ target }) => {
  const { source, total, volumes } = scan;
  const item = Math.round((Number(target.value) + 0.5) * (total / volumes));
  blank("Reading …");
  open({ upload: source, item });
});
find("#accelerations").addEventListener("change", ({ target }) => {
  speed = target.value;
  work([current()], []);
});
find("#methods").addEventListener("change", ({ target }) => chosen[target.checked ? "add" : "delete"](target.value));
find("#all").addEventListener("change", ({ target }) => {
  for (const input of find("#methods").querySelectorAll("input:enabled:not([data-slow])")) {
    input.checked = target.checked;
    chosen[target.checked ? "add" : "delete"](input.value);
  }
});
const wanted = () => [...find("#methods").querySelectorAll("input:checked:enabled")].map(({ value }) => value);
find("#go").addEventListener("click", () => work([current()], wanted()));
find("#go-all").addEventListener("click", () => work(Array.from({ length: scan.count }, (_, n) => n), wanted()));
find("#stop").addEventListener("click", async () => {
  const mine = turn;
  const account = await ask("/reading/stop", { scan: scan.id });
  if (mine === turn) take({ ...account, acceleration: speed, panes: scan.panes });
});

(async () => {
  const asked = new URLSearchParams(location.search).get("scan");
  const scans = await listScans();
  if (asked && (await reopen(asked))) return;
  if (scans.length && (await reopen(scans[0].id))) return;
  await showFirst();
})().catch((error) => tell(error.message, true));
