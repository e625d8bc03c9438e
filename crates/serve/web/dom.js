// Building nodes, icons, short notices, and the clipboard. No text ever becomes HTML here: the page's policy forbids it.

const SVG = "http://www.w3.org/2000/svg";

/** An element: `make("button.quiet", {type: "button", onclick}, "text", child)`. Values that are null or false are left out. */
export function make(name, props = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && !key.startsWith("aria") && key !== "list") element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Outlines of 24 by 24. */
const ICONS = {
  menu: "M4 7h16M4 12h16M4 17h10",
  plus: "M12 5v14M5 12h14",
  send: "M12 19V5M5.5 11.5 12 5l6.5 6.5",
  stop: "M7 7h10v10H7z",
  copy: "M9 9h10v11H9zM15 9V4H5v11h4",
  check: "m5 12.5 4.5 4.5L19 7.5",
  retry: "M19 12a7 7 0 1 1-2.2-5.1M19 4v4h-4",
  edit: "M5 19h3.5L19 8.5 15.5 5 5 15.5zM13 7.5l3.5 3.5",
  trash: "M5 7h14M10 7V4.5h4V7M7 7l.8 12.5h8.4L17 7M10.5 11v5M13.5 11v5",
  down: "M12 5v14M5.5 12.5 12 19l6.5-6.5",
  left: "m14.5 6-6 6 6 6",
  right: "m9.5 6 6 6-6 6",
  close: "m6 6 12 12M18 6 6 18",
  sliders: "M4 8h9M17 8h3M4 16h3M11 16h9M15 5.5v5M9 13.5v5",
  open: "m8 10 4 4 4-4",
  more: "M5.5 12h.01M12 12h.01M18.5 12h.01",
  link: "M13 5h6v6M19 5l-8 8M10 6H5v13h13v-5",
  search: "M10.5 5a5.5 5.5 0 1 0 0 11 5.5 5.5 0 0 0 0-11M15 15l4.5 4.5",
};

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button that shows only an icon; the label is for who cannot see it. */
export function iconButton(name, label, onclick, props = {}) {
  return make("button.icon-button", { type: "button", title: label, "aria-label": label, onclick, ...props }, icon(name));
}

export const byId = (id) => document.getElementById(id);

/** Says something to screen readers only. */
export function announce(text) {
  const live = byId("live");
  live.textContent = "";
  // A change in the same moment would not be read when the words are the same as before.
  setTimeout(() => (live.textContent = text), 50);
}

/** A notice at the bottom that goes away by itself, with one thing to do about it. */
export function toast(text, action = null) {
  const gone = () => note.remove();
  const button = action && make("button.text-button", { type: "button", onclick: () => (gone(), action.run()) }, action.label);
  const note = make("div.toast", {}, make("span", {}, text), button);
  byId("toasts").replaceChildren(note);
  setTimeout(gone, action ? 8000 : 3500);
}

/** Copies text; without the clipboard interface (plain http from another machine) by a selection. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = make("textarea.hidden", { value: text, readOnly: true });
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    const before = document.activeElement;
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    before?.focus?.();
    return done;
  }
}

/** Copies, and shows on the button that it was done. */
export async function copyFrom(button, text) {
  const done = await copy(text);
  announce(done ? "Copied" : "Could not copy");
  if (!done) return toast("The browser did not allow copying");
  button.replaceChildren(icon("check"));
  setTimeout(() => button.replaceChildren(icon("copy")), 1500);
}

/** Puts a file on the person's disk. */
export function download(name, text, type) {
  const href = URL.createObjectURL(new Blob([text], { type }));
  make("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10000);
}

/** A number of bytes as people say it. */
export function bytes(n) {
  if (!(n > 0)) return "";
  const step = Math.min(3, Math.floor(Math.log10(n) / 3));
  return `${(n / 1000 ** step).toLocaleString(undefined, { maximumFractionDigits: step > 1 ? 1 : 0 })} ${["B", "kB", "MB", "GB"][step]}`;
}
