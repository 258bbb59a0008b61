/**
 * Not a module, so that it runs whatever becomes of them: where a part of the page does not arrive, nothing of it runs and
 * nothing would be seen. Then that is said, and the page is loaded again.
 */
"use strict";
(() => {
  const COUNT = "kvmstream.reloads"; // main.js forgets it when it runs
  const MOST = 5;
  const PAUSE_MS = 1000;
  let failed = false;

  /** How often the page has been loaded again in vain; MOST where the browser keeps no such thing. */
  function reloads() {
    try {
      return Number(sessionStorage.getItem(COUNT) ?? 0);
    } catch {
      return MOST;
    }
  }

  function say() {
    const again = reloads();
    const text = document.createElement("p");
    text.className = "banner";
    text.setAttribute("role", "alert");
    text.textContent = again < MOST
      ? "A part of this page did not arrive; trying again…"
      : "A part of this page does not arrive. Check the way to the hub, then load the page again.";
    document.getElementById("app")?.replaceChildren(text);
    if (again >= MOST) return;
    sessionStorage.setItem(COUNT, String(again + 1));
    setTimeout(() => location.reload(), PAUSE_MS * 2 ** again);
  }

  // Of a script that could not be fetched, or one that it imports. It does not bubble.
  window.addEventListener("error", (event) => {
    if (!(event.target instanceof HTMLScriptElement) || failed) return;
    failed = true;
    if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", say);
    else say();
  }, true);
})();
