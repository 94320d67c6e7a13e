// The page's own few lines: theme, leaving, uploads. Everything it asks goes to this server.
(() => {
  "use strict";
  const root = document.documentElement;
  const kept = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const paint = (theme) => {
    root.dataset.theme = theme;
    if (document.body) document.body.classList.toggle("dark", theme === "dark");
  };
  const first = kept() ?? "dark";
  paint(first);
  document.addEventListener("DOMContentLoaded", () => {
    paint(root.dataset.theme);
    // Gradio puts its own idea of the theme on the body when it starts; ours stays.
    new MutationObserver(() => {
      const dark = root.dataset.theme === "dark";
      if (document.body.classList.contains("dark") !== dark) document.body.classList.toggle("dark", dark);
    }).observe(document.body, { attributes: true, attributeFilter: ["class"] });
    document.documentElement.lang = "en";
  });

  /** Ask before everything is removed; what is asked is a promise of yes or no. */
  function confirmed(act) {
    const dialog = document.createElement("dialog");
    dialog.className = "ask";
    dialog.setAttribute("aria-labelledby", "ask-what");
    dialog.innerHTML = '<form method="dialog"><p id="ask-what">Everything that you uploaded and made here is removed ' +
      'from the server, for all tabs of this browser.</p><p class="choices"><button value="">Stay</button>' +
      '<button value="yes"></button></p></form>';
    dialog.querySelector("[value=yes]").textContent = act;
    document.body.append(dialog);
    dialog.showModal();
    return new Promise((answer) => dialog.addEventListener("close", () => {
      dialog.remove();
      answer(dialog.returnValue === "yes");
    }));
  }

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-act]");
    if (!button) return;
    if (button.dataset.act === "theme") {
      const theme = root.dataset.theme === "dark" ? "light" : "dark";
      try { localStorage.setItem("theme", theme); } catch { /* private browsing: for this page only */ }
      paint(theme);
    }
    if (button.dataset.act === "leave") {
      if (!(await confirmed(button.textContent))) return;
      button.disabled = true;
      document.dispatchEvent(new Event("inspector:left"));
      await fetch(button.dataset.where, { method: "POST" });
      document.body.innerHTML = '<main class="left"><h1>Session ended</h1>' +
        "<p>Everything you uploaded and made has been removed from the server.</p>" +
        '<p><a href="/">Begin a new session</a></p></main>';
    }
  });

  // Every tab has an address of its own: #runs, say. A reload stays there, and Back goes where one was.
  const tabs = () => [...document.querySelectorAll("#tabs [role=tab]")];
  const named = (tab) => tab.textContent.trim().toLowerCase().replaceAll(" ", "-");
  const follow = () => {
    const all = tabs();
    const wanted = all.find((tab) => `#${named(tab)}` === location.hash) ?? (location.hash ? null : all[0]);
    if (wanted && wanted.getAttribute("aria-selected") !== "true") wanted.click();
    return all.length > 0;
  };
  addEventListener("hashchange", follow);
  document.addEventListener("click", ({ target }) => {
    const tab = target.closest?.("#tabs [role=tab]");
    if (tab && location.hash !== `#${named(tab)}`) history.pushState(null, "", `#${named(tab)}`);
  });
  addEventListener("popstate", follow);
  if (location.hash) {
    const waiting = new MutationObserver(() => { if (follow()) waiting.disconnect(); });
    waiting.observe(root, { childList: true, subtree: true });
  }

  // A viewer in a narrow frame is as high as its pictures need: nothing of a comparison hides below a fold.
  const NARROW = 900; // as in viewer.css
  const fitted = new WeakSet();
  document.addEventListener("load", ({ target }) => {
    const main = target.matches?.("iframe.viewer") ? target.contentDocument?.querySelector("main") : null;
    if (!main || fitted.has(main)) return;
    fitted.add(main);
    const least = Number(target.getAttribute("height")) || 0;
    new ResizeObserver(() => {
      const needed = target.clientWidth > NARROW ? least : Math.max(least, main.scrollHeight);
      if (Math.abs(needed - target.clientHeight) > 2) target.style.height = `${needed}px`;
    }).observe(main);
  }, true);

  // Arrow keys move within a sheet of tiles, as in any grid.
  document.addEventListener("keydown", (event) => {
    const tile = event.target.closest?.(".sheet .tile");
    if (!tile) return;
    const sheet = tile.closest(".sheet");
    const tiles = [...sheet.querySelectorAll(".tile")];
    const columns = Number(getComputedStyle(sheet).getPropertyValue("--columns")) || 1;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (step === undefined) return;
    const next = tiles[tiles.indexOf(tile) + step];
    if (next) { tile.tabIndex = -1; next.tabIndex = 0; next.focus(); event.preventDefault(); }
  });
})();
