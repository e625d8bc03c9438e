// Runs the tests of the page and ends with a line that `cargo xtask test` counts: `node run.mjs [NAME...]`, all or those whose names
// match. page.test.mjs is not among them: `cargo xtask test clients` runs it against the program's own server.

import { spawnSync } from "node:child_process";
import { run } from "node:test";
import { fileURLToPath } from "node:url";
import { CHROMIUM } from "./browser.mjs";

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const files = ["markdown.test.mjs", "parts.test.mjs"].map(here);
let skipped = 0;
if (spawnSync(CHROMIUM, ["--version"]).status === 0) {
  files.push(here("ways.test.mjs"));
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
for await (const { type, data } of run({ files, concurrency: 1, testNamePatterns: wanted.length ? wanted : undefined })) {
  if (type === "test:stdout" || type === "test:stderr") process.stderr.write(data.message);
  // A file counts as a test too, of which only a failure of its own says something.
  if (data?.skip || (files.includes(data?.name) && (type === "test:pass" || data.details?.error?.failureType === "subtestsFailed"))) continue;
  if (type === "test:pass") passed++;
  if (type === "test:fail") {
    failed++;
    const error = data.details.error?.cause ?? data.details.error;
    console.error(`FAILED ${data.name}\n${error?.stack ?? error}\n`);
  }
}
console.log(`test result: ${failed ? "FAILED" : "ok"}. ${passed} passed; ${failed} failed; ${skipped} ignored`);
process.exitCode = failed || !passed ? 1 : 0;
