// A reader's work: one question, one answer, saved before the next is asked.

import { listenToKeys } from "/viewer/static/keys.js";
import { listen } from "/viewer/static/pointers.js";
import { Viewer } from "/viewer/static/viewer.js";

const find = (selector) => document.querySelector(selector);
const { kind, confidence, comments, seated } = find("main").dataset;
const speak = (sentence) => (find("#spoken").textContent = sentence);
let viewer = null;
let question = null;
let begun = 0;
let tool = "window";
let shown = 0;

async function ask(address, body) {
  const options = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  const answer = await fetch(address, { credentials: "same-origin", cache: "no-store", ...options });
  if (!answer.ok) throw Object.assign(new Error(await answer.text()), { status: answer.status });
  return answer.json();
}

function trouble(error) {
  find("#trouble").textContent = error.status ? error.message : `Nothing was saved (${error.message}). Try again.`;
}

/** Show the question that is open, or the one before, whose answer can still be changed. */
async function next(back = false) {
  find("#trouble").textContent = "";
  question = await ask(back ? "/study/next?back=true" : "/study/next");
  find("#start").hidden = true;
  find("#work").hidden = question.done;
  find("#end").hidden = !question.done;
  find("main").classList.toggle("asking", !question.done);
  if (question.done) return;
  find("#back").hidden = question.given !== null || question.trial === 0;
  find("#save").textContent = question.given === null ? "Save and go on" : "Save the change and go on";
  find("#progress").textContent = `Question ${question.trial + 1} of ${question.total}`;
  offer();
  await show();
  speak(`Question ${question.trial + 1} of ${question.total}. ${find("#prompt").textContent}`);
}

/** Show all images at the same moment, so that none gives itself away by coming late. */
async function show() {
  const old = find("#panes");
  const grid = old.cloneNode(false);
  old.replaceWith(grid);
  grid.classList.add("waiting");
  grid.dataset.tool = tool;
  viewer = new Viewer(grid, question.panes, speak);
  listen(viewer, grid, () => tool);
  for (const view of viewer.views) view.slider?.addEventListener("input", () => viewer.goTo(view, Number(view.slider.value) - 1));
  const here = new Set();
  await new Promise((done) => {
    viewer.addEventListener("arrived", ({ detail }) => here.add(detail) && here.size === viewer.views.length && done());
    viewer.refresh();
  });
  viewer.refresh();
  requestAnimationFrame(() => {
    grid.classList.remove("waiting");
    begun = performance.now();
    grid.dataset.ready = String(question.trial);
    grid.dataset.shown = String(++shown);
  });
}

function radio(name, value, label) {
  const box = document.createElement("label");
  box.append(Object.assign(document.createElement("input"), { type: "radio", name, value, required: true }), label);
  return box;
}

function offer() {
  const choices = find("#choices");
  choices.replaceChildren(choices.querySelector("legend"));
  for (const { value, label } of question.choices) {
    if (kind !== "ranking") {
      choices.append(radio("choice", value, label));
      continue;
    }
    const list = Object.assign(document.createElement("select"), { name: `rank${value}`, required: true });
    list.append(new Option("…", ""), ...question.choices.map((_, i) => new Option(String(i + 1))));
    const box = document.createElement("label");
    box.append(`${label}: rank `, list);
    choices.append(box);
  }
  const sure = find("#sure");
  sure.hidden = confidence !== "true";
  sure.replaceChildren(sure.querySelector("legend"));
  if (!sure.hidden) for (let i = 1; i <= 5; i++) sure.append(radio("confidence", i, String(i)));
  find("#remark").hidden = comments !== "true";
  find("#answer").reset();
  if (question.given) fill(question.given);
}

/** Put an answer that was given into the form. */
function fill({ choice, confidence: sure, comment }) {
  if (kind === "ranking") choice.forEach((place, rank) => (find(`[name=rank${place}]`).value = String(rank + 1)));
  else find(`[name=choice][value="${choice}"]`).checked = true;
  if (sure !== null) find(`[name=confidence][value="${sure}"]`).checked = true;
  find("[name=comment]").value = comment;
}

/** What was chosen, as the server wants it: a place, a word, or places from best to worst. */
function chosen(form) {
  if (kind === "ranking") {
    const ranks = question.choices.map(({ value }) => [Number(form.get(`rank${value}`)), value]);
    if (new Set(ranks.map(([rank]) => rank)).size < ranks.length) throw Object.assign(new Error("Every image needs a rank of its own."), { status: 422 });
    return ranks.sort(([a], [b]) => a - b).map(([, place]) => place);
  }
  const value = form.get("choice");
  return kind === "preference" && /^\d$/.test(value) ? Number(value) : value;
}

find("#answer").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = find("#save");
  if (button.disabled) return;
  button.disabled = true;
  try {
    const form = new FormData(event.target);
    const { low, high } = viewer.windowOf(viewer.views[0]);
    await ask("/study/answer", {
      trial: question.trial,
      choice: chosen(form),
      confidence: confidence === "true" ? Number(form.get("confidence")) : null,
      comment: form.get("comment") ?? "",
      response_ms: Math.round(performance.now() - begun),
      window: [low, high],
      zoomed: viewer.shared.zoom !== 1,
      revise: question.given !== null,
    });
    await next();
    find("#choices input, #choices select")?.focus();
  } catch (error) {
    // Answered already, in another window perhaps: what is open now is the next one.
    if (error.status === 409) await next().catch(trouble);
    else trouble(error);
  } finally {
    button.disabled = false;
  }
});

for (const button of [find("#back"), find("#reopen")]) {
  button.addEventListener("click", async () => {
    try {
      await next(true);
      find("#choices input, #choices select")?.focus();
    } catch (error) {
      trouble(error);
    }
  });
}

for (const button of document.querySelectorAll("[data-leave]")) {
  button.addEventListener("click", async () => {
    const answer = await fetch("/study/leave", { method: "POST" });
    await answer.text(); // a reload would abort what has not ended
    location.reload();
  });
}

find("#begin").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await ask("/study/begin", { reader: find("#reader").value, pin: find("#pin").value });
    await next();
  } catch (error) {
    find("#plain").textContent = error.message;
    find("#plain").hidden = false;
  }
});

for (const button of document.querySelectorAll("[data-tool]")) {
  button.addEventListener("click", () => {
    tool = button.dataset.tool;
    for (const other of document.querySelectorAll("[data-tool]:is(button)")) other.setAttribute("aria-pressed", String(other === button));
    if (viewer) viewer.grid.dataset.tool = tool;
  });
}
const acts = {
  invert: () => {
    viewer.invert(viewer.active);
    find("[data-act=invert]").setAttribute("aria-pressed", String(viewer.windowOf(viewer.active).invert));
  },
  reset: () => {
    viewer.reset();
    find("[data-act=invert]").setAttribute("aria-pressed", "false");
  },
};
for (const button of document.querySelectorAll("[data-act]")) button.addEventListener("click", () => acts[button.dataset.act]());

// A few keys of the viewer; windows and places stay common to all images of a question.
const on = (act) => () => viewer && act(viewer.active);
listenToKeys(document, [
  [["ArrowUp"], "", on((view) => viewer.step(view, -1))],
  [["ArrowDown"], "", on((view) => viewer.step(view, 1))],
  [["PageUp"], "", on((view) => viewer.step(view, -10))],
  [["PageDown"], "", on((view) => viewer.step(view, 10))],
  [["Home"], "", on((view) => viewer.goTo(view, 0))],
  [["End"], "", on((view) => viewer.goTo(view, view.count - 1))],
  [["+"], "", on((view) => viewer.zoom(view, 1.25))],
  [["-"], "", on((view) => viewer.zoom(view, 0.8))],
  [["="], "", on((view) => viewer.fit(view))],
  [["i"], "", () => viewer && acts.invert()],
  [[" "], "", () => viewer && acts.reset()],
]);

find("#plain").hidden = true;
find("#begin").hidden = false;
// After a reload the reader goes on.
if (seated === "true") next().catch((error) => Object.assign(find("#plain"), { textContent: error.message, hidden: false }));
