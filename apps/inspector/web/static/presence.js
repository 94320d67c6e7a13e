// Says every half minute that this page is open: a session ends soon after its last page was closed, and a page on which
// somebody only looks asks for nothing else. Not a stream held open: a browser has six connections for all its tabs.
(() => {
  "use strict";
  const PERIOD = 30_000; // milliseconds; a hidden tab may be slowed down to a minute
  const timer = setInterval(async () => {
    try {
      const answer = await fetch("/session/open", { method: "POST" });
      if (!answer.ok) clearInterval(timer);
    } catch { /* the server is away for a moment */ }
  }, PERIOD);
  document.addEventListener("inspector:left", () => clearInterval(timer));
})();
