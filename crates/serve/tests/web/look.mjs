// Takes pictures of the page in its states, to be looked at: `node look.mjs FOLDER`.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Browser } from "./browser.mjs";
import { start } from "./mock.mjs";

const folder = process.argv[2];
if (!folder) throw new Error("usage: node look.mjs FOLDER");
mkdirSync(folder, { recursive: true });
const mock = await start();
const browser = await Browser.start();

async function tour(name, options, theme) {
  const page = await browser.page(options);
  const shot = (part) => page.picture(join(folder, `${name}-${part}.png`));
  const idle = () => page.until("!document.querySelector('.live') && document.querySelector('#messages > :last-child').classList.contains('assistant')");
  const say = async (text) => {
    await page.run(`(document.querySelector('#input').value = ${JSON.stringify(text)}, document.querySelector('#input').dispatchEvent(new Event('input')))`);
    const before = await page.run("document.querySelectorAll('.message').length");
    await page.tap("#send");
    await page.until(`document.querySelectorAll('.message').length > ${before}`);
  };
  await page.media([["prefers-color-scheme", theme]]);
  await page.goto(mock.url);
  await shot("1-empty");
  await say("please-markdown: show me everything that you can format, in one answer");
  await idle();
  await page.run("document.querySelector('#log').scrollTop = 0");
  await shot("2-markdown-top");
  await page.run("document.querySelector('#log').scrollTop = 620");
  await shot("3-markdown-middle");
  await page.run("document.querySelector('#log').scrollTop = 1e6");
  await shot("4-markdown-end");
  await say("please-think: what is a nibble?");
  await idle();
  await page.tap(".thought summary");
  await say("please-full: and how many fit into a byte?");
  await idle();
  await shot("5-thought-full");
  await say("please-slow: tell me more");
  await page.until("document.querySelector('.live .markdown')?.textContent.length > 200");
  await shot("6-streaming");
  await page.tap("#send");
  await idle();
  await say("please-stall");
  await page.until("document.querySelector('.wait')");
  await new Promise((resolve) => setTimeout(resolve, 3500));
  await shot("7-waiting");
  await page.tap("#send");
  await idle();
  await say("please-too-long");
  await idle();
  await shot("8-error");
  if (options.width < 860) {
    await page.tap("#menu");
    await new Promise((resolve) => setTimeout(resolve, 400));
    await shot("9-drawer");
    await page.tap("#close-drawer");
    await new Promise((resolve) => setTimeout(resolve, 400));
  }
  await page.tap("#model-button");
  await page.until("document.querySelector('.model-more a')");
  await shot("10-models");
  await page.tap("#models .close-dialog");
  await page.tap("#settings-button");
  await shot("11-settings");
  await page.tap("#settings .tabs button:nth-child(3)");
  await shot("12-settings-page");
  await page.tap("#settings .close-dialog");
  await page.tap(".message.user:nth-last-child(2) [aria-label='Edit message']");
  await shot("13-edit");
  await page.key("Escape");
  await mock.down();
  await say("are you there?");
  await page.until("document.querySelector('#notice:not([hidden])')");
  await idle();
  await shot("14-gone");
  await mock.up();
  console.log(name, page.faults);
  await page.close();
}

await tour("light", { width: 360, height: 740 }, "light");
if (!process.argv.includes("--quick")) {
  await tour("dark", { width: 360, height: 740 }, "dark");
  await tour("wide", { width: 1280, height: 800, touch: false }, "light");
}
await browser.stop();
await mock.down();
