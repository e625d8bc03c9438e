// The page in headless Chromium at a phone's size: type, stream, stop, again, reload. With NIBBLE_TEST_URL it talks with that server, which has a model;
// without, with the stand-in of mock.mjs. Where there is no Chromium the tests are skipped, unless NIBBLE_REQUIRE_ALL=1.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { after, before, test } from "node:test";
import { Browser, CHROMIUM } from "./browser.mjs";
import { start } from "./mock.mjs";

const there = spawnSync(CHROMIUM, ["--version"]).status === 0;
const skip = !there && process.env.NIBBLE_REQUIRE_ALL !== "1" && `${CHROMIUM} is not installed`;
let browser, mock, url;

before(async () => {
  if (skip) return;
  url = process.env.NIBBLE_TEST_URL;
  if (!url) {
    mock = await start();
    url = mock.url;
  }
  browser = await Browser.start();
});
after(async () => {
  await browser?.stop();
  await mock?.down();
});

const idle = "!document.querySelector('.live') && document.querySelector('#messages > :last-child')?.classList.contains('assistant')";
const answer = "document.querySelector('#messages > .assistant:last-child .markdown')?.textContent.trim()";

/** A fresh page that has found its model. */
async function open(options) {
  const page = await browser.page(options);
  await page.goto(url);
  await page.until("!['', '…'].includes(document.querySelector('#model-name').textContent.trim())");
  return page;
}

/** Types as a person does, and sends by the button. */
async function say(page, text) {
  const before = await page.run("document.querySelectorAll('.message').length");
  await page.tap("#input");
  await page.call("Input.insertText", { text });
  await page.tap("#send");
  await page.until(`document.querySelectorAll('.message').length > ${before}`);
}

test("a message is answered, and both are there after a reload", { skip }, async () => {
  const page = await open();
  await say(page, "Tell me a story about a fox.");
  await page.until(idle);
  const text = await page.run(answer);
  assert.ok(text.length > 3, text);
  await page.reload();
  await page.until("document.querySelectorAll('.message').length === 2");
  assert.equal(await page.run(answer), text);
  assert.ok((await page.run("document.querySelector('.message.user').textContent")).includes("a story about a fox"));
  assert.deepEqual(page.faults, []);
  await page.close();
});

test("an answer streams, stops where it is, and can be had again", { skip }, async () => {
  const page = await open();
  await say(page, mock ? "please-slow: tell me more" : "Tell me a very long story about a fox and a bear.");
  await page.until("document.querySelector('.live .markdown')?.textContent.length > 3");
  // The same button stops what it sent. A small model may have ended before.
  await page.tap("#send");
  await page.until(idle);
  const kept = await page.run(answer);
  assert.ok(kept.length > 3);
  assert.equal(await page.run("document.querySelectorAll('.message').length"), 2);
  await page.tap(".message.assistant [aria-label*='gain'], .message.assistant [aria-label*='etry']");
  await page.until("document.querySelector('.live')");
  await page.until("document.querySelector('.live .markdown')?.textContent.length > 1 || !document.querySelector('.live')");
  if (await page.run("!!document.querySelector('.live')")) await page.tap("#send");
  await page.until(idle);
  assert.equal(await page.run("document.querySelectorAll('.message').length"), 2);
  assert.deepEqual(page.faults, []);
  await page.close();
});

test("nothing sticks out at any width, in light and dark", { skip }, async () => {
  const page = await open();
  await say(page, mock ? "please-markdown: everything" : "Tell me a story about a bear.");
  await page.until(idle);
  for (const theme of ["light", "dark"]) {
    await page.media([["prefers-color-scheme", theme]]);
    for (const width of [320, 360, 412, 768, 1280]) {
      await page.size(width, 740, width < 800);
      const wide = await page.run("[document.documentElement.scrollWidth, innerWidth]");
      assert.ok(wide[0] <= wide[1], `${theme}, ${width}: ${wide}`);
    }
  }
  assert.deepEqual(page.faults, []);
  await page.close();
});

test("every control has a name, and Enter sends", { skip }, async () => {
  const page = await open({ width: 1280, height: 800, touch: false });
  await page.run("document.querySelector('#input').focus()");
  await page.call("Input.insertText", { text: "What is a fox?" });
  await page.key("Enter");
  await page.until("document.querySelectorAll('.message').length === 2");
  await page.until(idle);
  const { nodes } = await page.call("Accessibility.getFullAXTree");
  const roles = ["button", "textbox", "searchbox", "combobox", "checkbox", "radio", "slider", "link", "tab", "spinbutton"];
  const controls = nodes.filter((node) => !node.ignored && roles.includes(node.role?.value));
  assert.ok(controls.length > 5);
  assert.deepEqual(controls.filter((node) => !node.name?.value?.trim()).map((node) => node.role.value), []);
  assert.deepEqual(page.faults, []);
  await page.close();
});
