/**
 * An element with attributes, listeners (`onclick`) and children.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, any>} [attributes] false and null are left out; functions become listeners
 * @param {...(Node | string | null)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === null || value === undefined) continue;
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null));
  return made;
}

/** Let the browser save what is at an address. @param {string} href @param {string} name */
export function download(href, name) {
  element("a", { href, download: name }).click();
}

/** @param {string} text @param {() => void} act @param {Record<string, any>} [attributes] */
export function button(text, act, attributes = {}) {
  return element("button", { type: "button", onclick: act, ...attributes }, text);
}

let dialogs = 0; // one may open another: each heading has a name of its own

/**
 * A dialog that closes with Escape and gives the focus back.
 * @param {string} title @param {string} closeText @param {...Node} children
 */
export function dialog(title, closeText, ...children) {
  const id = `dialog-${++dialogs}`;
  const heading = element("h2", { id }, title);
  const made = element("dialog", { "aria-labelledby": id }, heading, ...children);
  const row = element("p", { class: "row end" }, button(closeText, () => made.close()));
  made.append(row);
  made.addEventListener("close", () => made.remove());
  document.body.append(made);
  made.showModal();
  return made;
}
