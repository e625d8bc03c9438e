// Whether the server can be reached. Asked when the page begins, when a request fails, and then again and again, ever less
// often, until it answers.

import { version } from "./api.js";
import { emit } from "./bus.js";

export const connection = { up: true, version: "" };
let timer = 0;
let wait = 1000;

export async function check() {
  clearTimeout(timer);
  const before = connection.up;
  try {
    connection.version = (await version()).version ?? "";
    connection.up = true;
  } catch (error) {
    // A refusal is an answer too.
    connection.up = error.kind === "http";
  }
  if (connection.up) {
    wait = 1000;
  } else {
    timer = setTimeout(check, wait);
    wait = Math.min(15000, wait * 1.7);
  }
  if (before !== connection.up || !connection.up) emit("connection", connection.up, before);
  return connection.up;
}

addEventListener("online", check);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && !connection.up) check();
});
