/** The console: who is logged in, and which of its pages is shown (#/, #/source/NAME, #/manage). */
import { Admin } from "./admin.js";
import { ApiError, request } from "./api.js";
import { button, element } from "./dom.js";
import { Grid } from "./grid.js";
import { Link } from "./link.js";
import { State } from "./state.js";
import { S } from "./strings.js";
import { View } from "./view.js";

const NEWS_MS = 6000;
const RETRY_MS = 1000; // while the hub does not answer; twice as long after each attempt
const LONGEST_RETRY_MS = 8000;
const app = /** @type {HTMLElement} */ (document.getElementById("app"));
const news = /** @type {HTMLElement} */ (document.getElementById("news"));
let newsTimer = 0;

/** Something that passes. @param {string} text */
function say(text) {
  if (text && "popover" in news) {
    // Shown anew, it lies on top of dialogs, too.
    if (news.matches(":popover-open")) news.hidePopover();
    news.showPopover();
  }
  news.textContent = text;
  news.classList.toggle("shown", text !== "");
  clearTimeout(newsTimer);
  if (text) newsTimer = window.setTimeout(() => say(""), NEWS_MS);
}

function logIn() {
  document.title = `${S.logIn} – ${S.title}`;
  const user = element("input", { name: "user", autocomplete: "username", required: true, autofocus: true });
  const password = element("input", { name: "password", type: "password", autocomplete: "current-password", required: true });
  const problem = element("p", { class: "problem", role: "alert" });
  const submit = element("button", { type: "submit", class: "primary" }, S.logIn);
  const form = element(
    "form", { class: "login", onsubmit: async (/** @type {Event} */ event) => {
      event.preventDefault();
      submit.disabled = true;
      try {
        await request("POST", "session", { user: user.value, password: password.value });
        await start();
      } catch (error) {
        problem.textContent = /** @type {Error} */ (error).message;
        password.select();
      }
      submit.disabled = false;
    } },
    element("h1", {}, S.title), element("label", {}, S.user, user), element("label", {}, S.password, password),
    problem, submit, element("p", { class: "hint" }, S.firstUser),
  );
  app.replaceChildren(element("main", {}, form));
  user.focus();
}

/** @param {Record<string, number>} keys */
function run(keys) {
  const link = new Link();
  const state = new State(link);
  /** @type {Grid | null} */
  let grid = null;
  /** @type {View | null} */
  let view = null;
  /** @type {Admin | null} */
  let admin = null;
  const banner = element("p", { class: "banner", role: "alert" }, S.connecting);
  const leave = button(S.logOut, async () => {
    ended = true;
    closePages();
    link.close();
    await request("DELETE", "session").catch(() => {});
    window.removeEventListener("hashchange", route);
    logIn();
  });
  const who = element("span", { class: "who" });
  const manage = button(S.manage, () => {
    location.hash = "#/manage";
  });
  const top = element(
    "header", { class: "bar" }, element("h1", {}, S.sources), element("span", { class: "spring" }), who, manage, leave,
  );
  app.replaceChildren(banner);
  let ended = false;

  /** @param {string} name */
  const open = (name) => {
    location.hash = `#/source/${encodeURIComponent(name)}`;
  };
  const back = () => {
    location.hash = "#/";
  };

  function closePages() {
    view?.close();
    grid?.close();
    admin?.close();
    view = grid = admin = null;
  }

  function route() {
    const name = /^#\/source\/(.+)$/.exec(location.hash)?.[1];
    if (location.hash === "#/manage" && state.role === "admin") {
      closePages();
      const made = new Admin(state, back, say);
      admin = made;
      document.title = `${S.manage} – ${S.title}`;
      app.replaceChildren(banner, made.root);
      return;
    }
    admin?.close();
    admin = null;
    if (name === undefined) {
      view?.close();
      view = null;
      if (grid === null) {
        document.title = S.title;
        const made = new Grid(link, state, open);
        grid = made;
        app.replaceChildren(banner, top, made.root);
      }
      return;
    }
    grid?.close();
    grid = null;
    if (view === null) {
      const made = new View(link, state, keys, { open, back, say });
      view = made;
      app.replaceChildren(banner, made.root);
    }
    view.show(decodeURIComponent(name));
  }

  let shown = false;
  link.on("up", () => {
    banner.hidden = true;
    who.textContent = `${state.user} (${state.role})`;
    manage.hidden = state.role !== "admin";
  });
  link.on("Sources", () => {
    if (shown) return;
    shown = true;
    window.addEventListener("hashchange", route);
    route();
  });
  link.on("Refused", (message) => say(message.reason));
  link.on("down", async () => {
    banner.textContent = S.lost;
    banner.hidden = false;
    try {
      await request("GET", "session");
    } catch (error) {
      // The session has ended, or somebody has ended it; a hub that is away answers nothing at all.
      if (error instanceof ApiError && error.status === 401 && !ended) {
        ended = true;
        closePages();
        link.close();
        window.removeEventListener("hashchange", route);
        logIn();
      }
    }
  });
  link.connect();
  Object.assign(window, { kvmstream: { link, state, get view() { return view; } } }); // for whoever looks with the browser's tools
}

/**
 * The answer, however long the hub takes to be there; what it says itself is an error all the same.
 * @template T @param {() => Promise<T>} ask @returns {Promise<T>}
 */
async function insist(ask) {
  for (let pause = RETRY_MS; ; pause = Math.min(2 * pause, LONGEST_RETRY_MS)) {
    try {
      return await ask();
    } catch (error) {
      if (error instanceof ApiError && error.status < 500) throw error;
      app.replaceChildren(element("p", { class: "banner", role: "alert" }, S.lost));
      await new Promise((resolve) => setTimeout(resolve, pause));
    }
  }
}

/** A link with a token logs in at once; the token leaves the address at once, too. */
async function start() {
  const token = /^#\/token\/(.+)$/.exec(location.hash)?.[1];
  if (token !== undefined) history.replaceState(null, "", "#/");
  try {
    await insist(() => token !== undefined
      ? request("POST", "session", undefined, decodeURIComponent(token))
      : request("GET", "session"));
  } catch (error) {
    if (error instanceof ApiError && error.status === 401) {
      logIn();
      return;
    }
    throw error;
  }
  run(await insist(async () => (await fetch("/console/keys.json")).json()));
}

try {
  sessionStorage.removeItem("kvmstream.reloads"); // see boot.js
} catch {
  // The browser keeps nothing.
}
start().catch((error) => {
  app.replaceChildren(element("p", { class: "banner", role: "alert" }, error.message));
});
