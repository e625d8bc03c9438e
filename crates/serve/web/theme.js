// Sets the colours before anything is drawn, so a dark room is not lit by a white page. A classic script on purpose: modules
// run only after the page has been read.
"use strict";

globalThis.nibbleTheme = () => {
  let theme = "auto";
  try {
    theme = JSON.parse(localStorage.getItem("nibble.theme")) ?? "auto";
  } catch {
    // No storage: as the device.
  }
  const dark = theme === "dark" || (theme === "auto" && matchMedia("(prefers-color-scheme: dark)").matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  document.querySelector("meta[name=theme-color]").content = dark ? "#151716" : "#faf9f5";
};
globalThis.nibbleTheme();
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", globalThis.nibbleTheme);
