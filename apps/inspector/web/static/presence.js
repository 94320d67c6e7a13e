// Says every half minute that this page is open, and waits with it where the network is away: requests go on once it is
// back. Not a stream held open: a browser has six connections for all its tabs.
(() => {
  "use strict";
  const PERIOD = 30_000; // milliseconds; a hidden tab may be slowed down to a minute
  const AGAIN = 3_000; // while the network is away
  const AWAY = "No connection to the server. This page waits and goes on by itself; what you made there is kept.";
  const send = window.fetch.bind(window);
  let timer = null, away = null, left = false;

  function show(text, link) {
    const line = document.getElementById("connection") ?? document.createElement("div");
    line.id = "connection";
    line.setAttribute("role", "alert");
    line.replaceChildren(text);
    if (link) line.append(" ", Object.assign(document.createElement("a"), { href: location.href, textContent: link }));
    line.querySelector("a")?.addEventListener("click", (event) => { event.preventDefault(); location.reload(); });
    document.body.append(line);
  }

  async function check() {
    clearTimeout(timer);
    if (left) return;
    let answer = null;
    try { answer = await send("/session/open", { method: "POST" }); } catch { /* away */ }
    if (left) return;
    if (answer === null) {
      if (away === null) {
        away = {};
        away.over = new Promise((done) => { away.end = done; });
        show(AWAY);
        document.dispatchEvent(new Event("inspector:away"));
      }
    } else {
      if (away !== null) {
        document.getElementById("connection")?.remove();
        const { end } = away;
        away = null;
        end();
        document.dispatchEvent(new Event("inspector:back"));
      }
      if (answer.status === 401 || answer.status === 403) {
        show("This session has ended, and what it held is gone from the server.", "Begin a new one");
        return;
      }
    }
    timer = setTimeout(check, away === null ? PERIOD : AGAIN);
  }

  // A request that finds no network waits for it, and is sent again. What is given up on purpose is not.
  window.fetch = async (input, options) => {
    let lost = 0;
    for (;;) {
      try {
        return await send(input, options);
      } catch (error) {
        const mine = typeof input === "string" || input instanceof URL;
        if (left || !mine || !(error instanceof TypeError) || options?.signal?.aborted) throw error;
        if (new URL(input, location.href).origin !== location.origin) throw error;
        await check();
        if (away !== null) {
          lost = 0;
          await away.over;
        } else if (++lost > 1 || (options?.method ?? "GET") !== "GET") throw error;
        // The server answers: the network was back by then. A question is asked again, once; what does something is not.
      }
    }
  };

  document.head.append(Object.assign(document.createElement("link"), { rel: "stylesheet", href: "/local/shared.css" }));
  timer = setTimeout(check, PERIOD);
  window.addEventListener("online", check);
  window.addEventListener("offline", check);
  document.addEventListener("inspector:left", () => { left = true; clearTimeout(timer); });
})();
