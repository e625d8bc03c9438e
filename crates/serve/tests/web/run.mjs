// Runs the tests of the page and ends with a line that `cargo xtask test` counts: `node run.mjs [--parts]`.
// With NIBBLE_WEB_SERVER=http://… the file real.test.mjs runs too, against a real `nibble serve` at that address.

import { spawnSync } from "node:child_process";
import { run } from "node:test";
import { fileURLToPath } from "node:url";
import { CHROMIUM } from "./browser.mjs";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const files = ["markdown.test.mjs", "parts.test.mjs"].map(here);
let skipped = 0;
if (spawnSync(CHROMIUM, ["--version"]).status === 0) {
  files.push(here("page.test.mjs"));
} else if (process.env.NIBBLE_REQUIRE_ALL === "1") {
  console.error(`${CHROMIUM} is not there, and NIBBLE_REQUIRE_ALL=1 says that nothing may be skipped`);
  process.exit(1);
} else {
  skipped = 1;
  console.error(`skipped: the page in a browser, as ${CHROMIUM} is not there (NIBBLE_CHROMIUM names another)`);
}

let passed = 0;
let failed = 0;
const wanted = process.argv.slice(2);
const stream = run({ files, concurrency: 1, testNamePatterns: wanted.length ? wanted : undefined });
stream.on("test:pass", ({ name, skip }) => {
  if (skip || files.includes(name)) return;
  passed++;
});
stream.on("test:fail", ({ name, details }) => {
  failed++;
  const error = details.error?.cause ?? details.error;
  console.error(`FAILED ${name}\n${error?.stack ?? error}\n`);
});
stream.on("test:stdout", ({ message }) => process.stdout.write(message));
stream.on("test:stderr", ({ message }) => process.stderr.write(message));
stream.on("end", () => {
  console.log(`test result: ${failed ? "FAILED" : "ok"}. ${passed} passed; ${failed} failed; ${skipped} ignored`);
  process.exitCode = failed || !passed ? 1 : 0;
});
