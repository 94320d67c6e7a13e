// The page of the viewer: reads what the server says of the panes, and starts.

import { Controls } from "./controls.js";
import { Viewer } from "./viewer.js";

const root = document.querySelector("main");
root.hidden = false;
/** @type {HTMLElement} */ (document.querySelector("#plain")).hidden = true;
const spoken = document.querySelector("#spoken");
const viewer = new Viewer(document.querySelector("#panes"), JSON.parse(root.dataset.panes), (sentence) => {
  spoken.textContent = sentence;
});
new Controls(viewer, document.body);
