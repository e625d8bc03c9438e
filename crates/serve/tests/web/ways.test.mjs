// Every way a person takes through the page, in headless Chromium at the size of a phone, against the stand-in of mock.mjs. (page.test.mjs takes the
// main one against the program itself.)
// After each test: nothing on the console, no exception, no breach of the policy.

import assert from "node:assert/strict";
import { after, afterEach, before, beforeEach, test } from "node:test";
import { Browser } from "./browser.mjs";
import { start } from "./mock.mjs";

let browser, mock, page;

before(async () => {
  browser = await Browser.start();
});
after(() => browser?.stop());
beforeEach(async () => {
  mock = await start();
  page = await browser.page();
  await page.goto(mock.url);
});
afterEach(async () => {
  const { faults } = page;
  await page.close();
  await mock.down();
  assert.deepEqual(faults, [], "faults of the page");
});

const LIVE = "document.querySelector('.message.live')";
const LAST = "document.querySelector('#messages > :last-child')";
const count = () => page.run("document.querySelectorAll('.message').length");
const texts = () => page.run("[...document.querySelectorAll('.bubble, .message.assistant .body > .markdown')].map((each) => each.textContent)");
const idle = () => page.until(`!${LIVE} && ${LAST}?.classList.contains('assistant')`);
/** Types and sends by touch, and waits until the message is shown. */
async function send(text) {
  await page.tap("#input");
  await page.type(text);
  const have = await count();
  await page.tap("#send");
  await page.until(`document.querySelectorAll('.message').length > ${have}`);
}
async function say(text) {
  await send(text);
  await idle();
}
const last = (label) => `#messages > :last-child [aria-label="${label}"]`;
const user = (label) => `.message.user [aria-label="${label}"]`;
/** What the history holds, read from the database itself. */
const stored = () => page.run(`new Promise((resolve) => {
  indexedDB.open("nibble").onsuccess = ({ target }) => {
    const all = target.result.transaction("messages").objectStore("messages").getAll();
    all.onsuccess = () => (target.result.close(), resolve(all.result));
  };
})`);

test("type, stream, reload: the chat is there again", async () => {
  await send("please-slow hello");
  await page.until(`${LIVE}?.querySelector('.markdown').textContent.length > 60`);
  const early = await page.run(`${LIVE}.querySelector('.markdown').textContent.length`);
  await page.until(`${LIVE}.querySelector('.markdown').textContent.length > ${early}`);
  await page.tap("#send");
  await idle();
  await say("and again");
  const shown = await texts();
  assert.equal(shown.length, 4);
  assert.match(shown[3], /^You said: and again/);
  await page.reload();
  assert.deepEqual(await texts(), shown);
  assert.match(await page.run("document.title"), /please-slow hello · nibble/);
  assert.deepEqual(mock.requests[1].messages.map(({ role }) => role), ["user", "assistant", "user"]);
  assert.equal(mock.requests[1].model, "nibble-tiny:latest");
});

test("stop: the answer ends at once, stays, and the server hears of it", async () => {
  await send("please-slow");
  await page.until(`${LIVE}?.querySelector('.markdown').textContent.length > 30`);
  await page.tap("#send");
  await idle();
  const [, text] = await texts();
  assert.ok(text.length > 30);
  assert.match(await page.run(`${LAST}.textContent`), /Stopped\./);
  await page.until("true");
  for (let i = 0; i < 200 && mock.cancelled === 0; i++) await new Promise((resolve) => setTimeout(resolve, 50));
  assert.equal(mock.cancelled, 1);
  // And one can go on.
  await say("next");
  assert.equal(await count(), 4);
});

test("a reload in the middle of an answer keeps what was streamed", async () => {
  await send("please-slow");
  await page.until(`${LIVE}?.querySelector('.markdown').textContent.length > 150`);
  const before = await page.run(`${LIVE}.querySelector('.markdown').textContent`);
  await page.reload();
  const [, kept] = await texts();
  assert.ok(kept.startsWith(before), `${before.length} characters were shown, kept is “${kept}”`);
  assert.match(await page.run(`${LAST}.textContent`), /Cut off/);
  await page.tap(last("Retry answer"));
  await page.until(`${LIVE}?.querySelector('.markdown').textContent.length > 30`);
  await page.tap("#send");
  await idle();
  assert.equal(await page.run(`${LAST}.querySelector('.versions span').textContent`), "2/2");
});

test("retry and edit make versions, and one can go back", async () => {
  await say("first question");
  await page.tap(last("Retry answer"));
  await page.until(`${LAST}.querySelector('.versions')`);
  await idle();
  assert.equal(mock.requests.length, 2);
  assert.deepEqual(mock.requests[0], mock.requests[1]);
  await page.tap(user("Edit message"));
  await page.run("document.querySelector('.edit-area').select()");
  await page.type("second question");
  await page.tap(".edit-form [type=submit]");
  await page.until(`${LAST}.textContent.includes('You said: second question')`);
  await idle();
  assert.deepEqual((await texts())[0], "second question");
  assert.deepEqual(mock.requests[2].messages.map(({ content }) => content), ["second question"]);
  await page.tap(user("Earlier version"));
  await page.until("document.querySelector('.bubble').textContent === 'first question'");
  assert.equal(await page.run(`${LAST}.querySelector('.versions span').textContent`), "2/2");
  await page.tap(user("Edit message"));
  await page.key("Escape");
  assert.equal((await texts())[0], "first question");
});

test("delete, and undo", async () => {
  await say("one");
  await say("two");
  await page.tap(".message.user:nth-child(3) [aria-label^='Delete message']");
  await page.until("document.querySelectorAll('.message').length === 2");
  assert.equal((await stored()).length, 2);
  await page.tap(".toast button");
  await page.until("document.querySelectorAll('.message').length === 4");
  assert.equal((await stored()).length, 4);
});

test("copy: a message and code", async () => {
  await browser.call("Browser.grantPermissions", { permissions: ["clipboardReadWrite", "clipboardSanitizedWrite"], browserContextId: page.context });
  await say("please-markdown");
  await page.tap(".code [aria-label='Copy code']");
  await page.until("document.querySelector('.code .icon-check')");
  assert.match(await page.run("navigator.clipboard.readText()"), /^\/\/\/ Adds up what is there\.\nfn sum/);
  await page.tap(last("Copy message"));
  await page.until(`${LAST}.querySelector('.actions .icon-check')`);
  assert.match(await page.run("navigator.clipboard.readText()"), /^# A heading\n/);
});

test("Markdown becomes elements, and nothing that it says is run", async () => {
  await say("please-markdown");
  for (const selector of ["h3", "strong", "em", "del", "ol > li > ul > li", "input[type=checkbox]:disabled", "table th.right", "blockquote", "pre .word", "hr", "code.math"]) {
    assert.ok(await page.run(`Boolean(${LAST}.querySelector('.markdown ${selector}'))`), selector);
  }
  assert.equal(await page.run("document.querySelector('.markdown a').rel"), "noopener noreferrer");
  await say("please-html");
  assert.equal(await page.run(`${LAST}.querySelectorAll('.markdown img, .markdown b, .markdown script').length`), 0);
  assert.deepEqual(await page.run(`[...${LAST}.querySelectorAll('.markdown a')].map((a) => a.href)`), ["https://example.com/x.png"]);
});

test("what is final is not drawn again while the rest streams", async () => {
  await send("please-markdown");
  await page.until(`${LIVE}?.querySelectorAll('.markdown > *').length > 2`);
  await page.run(`globalThis.heading = ${LIVE}.querySelector('h3')`);
  await idle();
  assert.ok(await page.run("heading.isConnected"));
});

test("thoughts are folded, in both forms", async () => {
  for (const word of ["please-think", "please-tags"]) {
    await say(word);
    assert.equal(await page.run(`${LAST}.querySelector('.thought').open`), false, word);
    assert.match(await page.run(`${LAST}.querySelector('.body > .markdown').textContent`), /^A nibble is half a byte/);
    await page.tap("#messages > :last-child .thought summary");
    await page.until(`/think about it|Hidden in tags/.test(${LAST}.querySelector('.thought .markdown').textContent)`);
  }
  // What was thought is not sent again.
  await say("next");
  const { messages } = mock.requests.at(-1);
  assert.ok(messages.every(({ content }) => !/think|Hidden/.test(content.replace("please-think", ""))));
});

test("figures: tokens/s, first token, and the context that warns", async () => {
  await say("hello");
  assert.match(await page.run(`${LAST}.querySelector('.stats').textContent`), /tokens\/s.*tokens.*first after/);
  await page.until("!document.querySelector('#meter').hidden");
  assert.match(await page.run("document.querySelector('.meter-text').textContent"), /of 4,096 tokens/);
  assert.equal(await page.run("document.querySelector('#meter').classList.contains('warn')"), false);
  await say("please-full");
  await page.until("document.querySelector('#meter').classList.contains('warn')");
  assert.match(await page.run("document.querySelector('.meter-text').textContent"), /^9\d % full/);
});

test("several chats: title, search, rename, delete, undo", async () => {
  await say("apples are red");
  await page.tap("#new-chat-top");
  await page.until("document.querySelectorAll('.message').length === 0");
  await say("the sky is blue");
  await page.tap("#menu");
  await page.until("document.querySelectorAll('.chat').length === 2");
  await page.tap("#search");
  await page.type("said apples");
  await page.until("document.querySelectorAll('.chat').length === 1");
  await page.tap(".chat .icon-button");
  await page.until("document.querySelector('#chat-menu input')");
  await page.run("document.querySelector('#chat-menu input').select()");
  await page.type("Fruit");
  await page.tap("#chat-menu [type=submit]");
  await page.until("document.querySelector('.chat-open')?.textContent === 'Fruit'");
  await page.tap(".chat-open");
  await page.until("document.querySelector('.bubble')?.textContent === 'apples are red'");
  assert.equal(await page.run("document.title"), "Fruit · nibble");
  // The back button goes back to the other one.
  await page.run("history.back()");
  await page.until("document.querySelector('.bubble')?.textContent === 'the sky is blue'");
  await page.tap("#menu");
  await page.tap(".chat .icon-button");
  await page.tap("#chat-menu .danger");
  await page.until("document.querySelectorAll('.chat').length === 0 && document.querySelector('.toast')");
  await page.tap(".toast button");
  await page.until("document.querySelectorAll('.chat').length === 1");
});

test("an answer goes on while another chat is read", async () => {
  await send("please-slow one");
  await page.until(`${LIVE}?.querySelector('.markdown').textContent.length > 20`);
  await page.tap("#new-chat-top");
  await page.until("document.querySelectorAll('.message').length === 0");
  await say("two");
  await page.run("history.back()");
  await page.until(`${LIVE}?.querySelector('.markdown').textContent.length > 40`);
  await page.tap("#send");
  await idle();
});

test("models: chosen, remembered, and compared", async () => {
  await page.tap("#model-button");
  await page.until("document.querySelectorAll('.model').length === 3");
  await page.until("document.querySelector('.model-more a')?.getAttribute('href') === './compare/nibble-tiny'");
  await page.tap(".model-list li:nth-child(2) .model");
  await page.until("document.querySelector('#model-name').textContent === 'llama3.2:3b-instruct-q4_K_M'");
  await say("hello");
  assert.equal(mock.requests[0].model, "llama3.2:3b-instruct-q4_K_M");
  await page.reload();
  assert.equal(await page.run("document.querySelector('#model-name').textContent"), "llama3.2:3b-instruct-q4_K_M");
  await page.tap("#new-chat-top");
  await page.until("document.querySelector('#model-name').textContent === 'llama3.2:3b-instruct-q4_K_M'");
});

test("without a comparison there is no link, without a model it is said how to get one", async () => {
  mock.compare = false;
  await page.tap("#model-button");
  await page.until("document.querySelector('.model-more .hint')");
  assert.equal(await page.run("document.querySelectorAll('.model-more a').length"), 0);
  await page.tap("#models .close-dialog");
  const models = mock.models;
  mock.models = [];
  await page.tap("#model-button");
  await page.until("/nibble pull/.test(document.querySelector('#models .callout')?.textContent)");
  await page.tap("#models .close-dialog");
  // The first page says so too, and asks for nothing that could not be answered.
  const shown = (selector) => page.run(`document.querySelector('${selector}').checkVisibility()`);
  assert.deepEqual([await shown("#no-model"), await shown(".starters")], [true, false]);
  mock.models = models;
  await page.run("document.dispatchEvent(new Event('visibilitychange'))");
  await page.until("document.querySelector('#no-model').hidden");
  assert.equal(await shown(".starters"), true);
});

test("settings: this chat before all chats, checked, sent", async () => {
  const fill = async (name, text) => {
    await page.tap(`#settings [name=${name}]`);
    await page.run(`document.querySelector('#settings [name=${name}]').select()`);
    await page.type(text);
    await page.run("document.activeElement.blur()");
  };
  await page.tap("#settings-button");
  await fill("temperature", "0");
  await fill("seed", "7");
  await fill("top_p", "3");
  await page.until("/at most 1/.test(document.querySelector('#set-top_p-fault').textContent)");
  assert.equal(await page.run("document.querySelector('#settings [name=top_p]').getAttribute('aria-invalid')"), "true");
  await page.tap("#settings .tabs button:nth-child(2)");
  await fill("system", "Be brief.");
  await fill("temperature", "1.5");
  await page.run("(() => { const s = document.querySelector('#settings [name=format]'); s.value = 'json'; s.dispatchEvent(new Event('change')); })()");
  await page.tap("#settings .close-dialog");
  await say("hello");
  const [{ messages, options, format }] = mock.requests;
  assert.deepEqual(messages[0], { role: "system", content: "Be brief." });
  assert.deepEqual(options, { temperature: 0, seed: 7 });
  assert.equal(format, "json");
  await page.reload();
  await page.tap("#new-chat-top");
  await page.until("document.querySelectorAll('.message').length === 0");
  await say("again");
  assert.deepEqual(mock.requests[1].options, { temperature: 1.5 });
});

test("errors are said plainly, with what to do", async () => {
  page.expected.push("Failed to load resource");
  const callout = () => page.run(`${LAST}.querySelector('.callout').textContent`);
  await say("please-429");
  assert.match(await callout(), /busy.*Try again in 7 s/);
  await say("please-too-long");
  assert.match(await callout(), /904 too many/);
  await page.tap("#messages > :last-child .callout .button:nth-child(2)");
  await page.until(`!${LIVE} && !${LAST}.querySelector('.callout') && ${LAST}.querySelector('.stats')`);
  assert.equal(mock.requests.at(-1).truncate, true);
  await say("please-no-model");
  assert.match(await callout(), /not here/);
  await page.tap("#messages > :last-child .callout .button");
  await page.until("document.querySelector('#models').open");
  await page.tap("#models .close-dialog");
  await say("please-stream-error");
  assert.match(await callout(), /The model stumbled/);
  assert.match((await texts()).at(-1), /^A nibble is half a/);
  await say("please-break");
  assert.match(await callout(), /connection broke/);
  assert.match((await texts()).at(-1), /^A nibble is half a/);
});

test("the server goes away and comes back", async () => {
  page.expected.push("ERR_CONNECTION_REFUSED");
  await say("hello");
  await mock.down();
  await say("are you there?");
  assert.match(await page.run(`${LAST}.querySelector('.callout').textContent`), /not reachable.*nibble serve/);
  await page.until("!document.querySelector('#notice').hidden");
  await mock.up();
  await page.until("document.querySelector('#notice').hidden");
  await page.tap("#messages > :last-child .callout .button");
  await page.until(`${LAST}.textContent.includes('You said: are you there?')`);
  assert.equal(await count(), 4);
});

test("an API key is asked for, kept, sent, and never exported", async () => {
  page.expected.push("401");
  await page.close();
  await mock.down();
  mock = await start({ key: "secret key" });
  page = await browser.page();
  page.expected.push("401");
  await page.goto(mock.url);
  await page.tap("#model-button");
  await page.until("/API key/.test(document.querySelector('#models .callout')?.textContent)");
  await page.tap("#models .close-dialog");
  await page.tap("#settings-button");
  await page.tap("#settings .tabs button:nth-child(3)");
  await page.tap("#set-key");
  await page.type("secret key");
  await page.tap("#settings .close-dialog");
  await page.until("document.querySelector('#model-name').textContent === 'nibble-tiny'");
  await say("hello");
  assert.match((await texts())[1], /You said: hello/);
  const text = await page.run("import('./ui/store.js').then((store) => store.exported())");
  assert.ok(text.includes("You said: hello") && !text.includes("secret key"));
});

test("export and import", async () => {
  await say("keep me");
  const text = await page.run("import('./ui/store.js').then((store) => store.exported())");
  await page.tap("#settings-button");
  await page.tap("#settings .tabs button:nth-child(3)");
  await page.tap("#settings .buttons .danger");
  await page.tap("#settings .buttons .danger");
  await page.until("document.querySelectorAll('.message').length === 0");
  assert.equal((await stored()).length, 0);
  const choose = (content) => page.run(`(() => {
    document.querySelector("#settings").showModal();
    const input = document.querySelector("#settings input[type=file]");
    const files = new DataTransfer();
    files.items.add(new File([${JSON.stringify(content)}], "chats.json"));
    input.files = files.files;
    input.dispatchEvent(new Event("change"));
  })()`);
  await choose("{}");
  await page.until("/not an export/.test(document.querySelector('.toast')?.textContent)");
  await page.run("document.querySelector('#settings').close()");
  await choose(text);
  await page.until("document.querySelector('.toast')?.textContent === '1 chat imported'");
  await page.tap("#menu");
  await page.tap(".chat-open");
  await page.until("document.querySelector('.bubble')?.textContent === 'keep me'");
  assert.equal((await stored()).length, 2);
});

test("the draft outlives a reload", async () => {
  await page.tap("#input");
  await page.type("half a thou");
  await page.reload();
  assert.equal(await page.run("document.querySelector('#input').value"), "half a thou");
  await page.tap("#input");
  await page.type("ght");
  await page.tap("#send");
  await idle();
  assert.match((await texts())[0], /half a thou/);
  await page.reload();
  assert.equal(await page.run("document.querySelector('#input').value"), "");
});

test("installed: works without the server, the history can be read", async () => {
  page.expected.push("ERR_CONNECTION_REFUSED", "Failed to load resource");
  await say("hello");
  await page.until("navigator.serviceWorker.controller !== null");
  await page.until("caches.open('nibble-page').then((kept) => kept.keys()).then((keys) => keys.length > 25)");
  await mock.down();
  await page.reload();
  assert.match((await texts())[1], /You said: hello/);
  await page.until("!document.querySelector('#notice').hidden");
  await say("still there?");
  assert.match(await page.run(`${LAST}.querySelector('.callout').textContent`), /not reachable/);
  await mock.up();
  const { data } = await page.call("Page.getAppManifest");
  const manifest = JSON.parse(data);
  assert.ok(manifest.icons.some(({ purpose }) => purpose === "maskable") && manifest.start_url === "./");
  const { installabilityErrors } = await page.call("Page.getInstallabilityErrors");
  assert.deepEqual(installabilityErrors.filter(({ errorId }) => errorId !== "in-incognito"), []);
});

test("nothing sticks out sideways, at any width, and every target is large enough for a finger", async () => {
  await say("please-markdown");
  await say("please-think " + "unbreakable".repeat(30));
  for (const [width, height] of [[320, 568], [360, 740], [412, 915], [740, 360], [768, 1024], [1280, 800]]) {
    await page.size(width, height);
    for (const open of ["", "#model-button", "#settings-button"]) {
      if (open) await page.tap(open);
      if (open) await page.until("document.querySelector('dialog[open]')");
      const wide = await page.run(`(() => {
        const over = [...document.querySelectorAll("body *")].filter((each) => {
          if (each.closest("pre, .table, #drawer, .hidden, .skip, svg") || !each.checkVisibility()) return false;
          const { left, right, width } = each.getBoundingClientRect();
          return width > 0 && (left < -0.5 || right > innerWidth + 0.5);
        });
        return [document.documentElement.scrollWidth - innerWidth, ...over.map((each) => each.tagName + "." + each.className)];
      })()`);
      assert.deepEqual(wide, [0], `${width} wide, ${open || "the chat"}`);
      const small = await page.run(`[...document.querySelectorAll("button, summary, select, input:not([type=checkbox]):not([hidden]), textarea")].filter((each) => {
        const { width, height } = each.getBoundingClientRect();
        return each.checkVisibility() && !each.closest(".hidden") && width > 0 && (width < 44 || height < 44);
      }).map((each) => each.id || each.ariaLabel || each.textContent)`);
      assert.deepEqual(small, [], `${width} wide: smaller than 44 points`);
      if (open) await page.run("document.querySelector('dialog[open]').close()");
    }
  }
});

test("large letters and a zoomed text fit", async () => {
  await page.run("document.documentElement.style.fontSize = '200%'");
  await say("please-markdown");
  assert.equal(await page.run("document.documentElement.scrollWidth - innerWidth"), 0);
  assert.ok(await page.run("document.querySelector('#log').clientHeight > 200"));
});

test("fields do not make a phone zoom: 16 pixels at least", async () => {
  await page.tap("#settings-button");
  const sizes = await page.run("[...document.querySelectorAll('input, textarea, select')].map((each) => parseFloat(getComputedStyle(each).fontSize))");
  assert.ok(sizes.every((size) => size >= 16), `${sizes}`);
});

test("the screen keyboard: the field stays above it", async () => {
  await say("please-markdown");
  await page.tap("#input");
  await page.size(360, 400);
  await page.until("document.documentElement.style.getPropertyValue('--height') === '400px'");
  await page.until("document.querySelector('#composer').getBoundingClientRect().bottom <= 400");
  // And the newest line stays in sight.
  await page.until("(() => { const log = document.querySelector('#log'); return log.scrollHeight - log.scrollTop - log.clientHeight < 2; })()");
});

test("reading further up is not disturbed, and there is a way down", async () => {
  await say("please-markdown");
  await send("please-slow");
  await page.until(`${LIVE}?.querySelector('.markdown').textContent.length > 30`);
  await page.run("document.querySelector('#log').scrollTop = 100");
  await page.until("!document.querySelector('#down').hidden");
  const length = await page.run(`${LIVE}.querySelector('.markdown').textContent.length`);
  await page.until(`${LIVE}.querySelector('.markdown').textContent.length > ${length + 40}`);
  assert.equal(await page.run("document.querySelector('#log').scrollTop"), 100);
  await page.tap("#down");
  await page.until("document.querySelector('#down').hidden");
  await page.tap("#send");
  await idle();
});

test("the drawer opens and closes by swiping", async () => {
  await say("hello");
  const open = "document.body.classList.contains('drawer-open')";
  await page.swipe({ x: 40, y: 300 }, { x: 240, y: 310 });
  await page.until(open);
  assert.equal(await page.run("document.querySelector('#main').inert"), true);
  await page.swipe({ x: 250, y: 600 }, { x: 60, y: 600 });
  await page.until(`!${open}`);
  assert.equal(await page.run("document.querySelector('#drawer').inert"), true);
});

test("by keyboard alone", async () => {
  await page.size(1280, 800, false);
  await page.reload();
  await page.until("document.activeElement.id === 'input'");
  await page.type("one");
  await page.key("Enter", { shift: true });
  await page.type("please-slow");
  await page.key("Enter");
  await page.until(`${LIVE}?.querySelector('.markdown').textContent.length > 20`);
  assert.equal((await texts())[0].split("\n").length, 2);
  await page.key("Escape");
  await idle();
  assert.match(await page.run(`${LAST}.textContent`), /Stopped/);
  await page.key("k", { ctrl: true });
  await page.until("document.activeElement.id === 'search'");
  // Tab goes through everything that can be done, visibly, and comes round.
  const seen = new Set();
  for (let i = 0; i < 40; i++) {
    await page.key("Tab");
    const at = await page.run(`(() => {
      const element = document.activeElement;
      if (element === document.body) return "body";
      const { outlineStyle, boxShadow } = getComputedStyle(element);
      const shown = outlineStyle !== "none" || element.closest(".composer-box:focus-within") !== null;
      return (shown ? "" : "no outline: ") + (element.id || element.ariaLabel || element.textContent);
    })()`);
    assert.ok(!at.startsWith("no outline"), at);
    seen.add(at);
  }
  for (const name of ["settings-drawer", "model-button", "settings-button", "new-chat-top", "log", "Copy message", "Edit message", "Retry answer", "input"]) assert.ok(seen.has(name), `${name} of ${[...seen]}`);
  await page.run("document.querySelector('#model-button').focus()");
  await page.key("Enter");
  await page.until("document.querySelector('#models').open && document.activeElement.closest('#models')");
  await page.key("Escape");
  await page.until("!document.querySelector('#models').open");
  assert.equal(await page.run("document.activeElement.id"), "model-button");
  await page.key("o", { ctrl: true, shift: true });
  await page.until("document.querySelectorAll('.message').length === 0 && document.activeElement.id === 'input'");
});

test("everything that can be used has a name for screen readers, and answers are read once", async () => {
  await say("please-markdown");
  await say("please-think");
  const roles = ["button", "link", "textbox", "searchbox", "combobox", "checkbox", "dialog", "img", "navigation", "region", "DisclosureTriangle", "article"];
  const nameless = async () => {
    const { nodes } = await page.call("Accessibility.getFullAXTree");
    const used = nodes.filter((node) => !node.ignored && roles.includes(node.role?.value));
    assert.ok(used.length > 3, `${nodes.map((node) => node.role?.value)}`);
    return used.filter((node) => !node.name?.value && node.role.value !== "img").map((node) => node.role.value);
  };
  assert.deepEqual(await nameless(), []);
  for (const [open, close] of [["#menu", "#close-drawer"], ["#model-button", "#models .close-dialog"], ["#settings-button", "#settings .close-dialog"]]) {
    await page.tap(open);
    await page.until("document.activeElement.closest('#drawer, dialog')");
    await page.run("Promise.all(document.getAnimations().map((each) => each.finished))");
    assert.deepEqual(await nameless(), [], open);
    if (open === "#settings-button") {
      await page.tap("#settings .tabs button:nth-child(3)");
      assert.deepEqual(await nameless(), []);
    }
    await page.tap(close);
  }
  await page.run(`(() => {
    globalThis.spoken = [];
    new MutationObserver(() => spoken.push(document.querySelector("#live").textContent)).observe(document.querySelector("#live"), { childList: true, characterData: true, subtree: true });
  })()`);
  await say("hello");
  await page.until("spoken.some((text) => text.startsWith('Answer complete.'))");
  const spoken = (await page.run("spoken")).filter(Boolean);
  assert.ok(spoken.length <= 2, `${spoken.length} times: ${spoken}`);
  assert.equal(await page.run("[...document.querySelectorAll('[aria-live]')].filter((each) => each.querySelector('.message')).length"), 0);
});

/** Contrast by WCAG 2: of every text that is seen, against what is painted behind it. */
const CONTRAST = `(() => {
  const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => ((v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)).reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const weak = [];
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walk.nextNode()); ) {
    const element = node.parentElement;
    if (!node.data.trim() || !element.checkVisibility({ visibilityProperty: true, opacityProperty: true }) || element.closest(":disabled, .hidden, noscript")) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) weak.push(ratio.toFixed(2) + " " + element.className + ": " + node.data.trim().slice(0, 30));
  }
  return weak;
})()`;

for (const theme of ["light", "dark"]) {
  test(`${theme}: as the device says, by choice, and with contrast enough (AA)`, async () => {
    page.expected.push("400");
    await page.media([["prefers-color-scheme", theme]]);
    await page.until(`document.documentElement.dataset.theme === '${theme}'`);
    await say("please-markdown");
    await say("please-full");
    await say("please-think");
    await page.tap(".thought summary");
    await say("please-too-long");
    assert.deepEqual(await page.run(CONTRAST), []);
    for (const open of ["#menu", "#model-button", "#settings-button"]) {
      await page.tap(open);
      await page.until("document.querySelector('dialog[open], .drawer-open')");
      await page.run("Promise.all(document.getAnimations().map((each) => each.finished))");
      assert.deepEqual(await page.run(CONTRAST), [], open);
      if (open === "#menu") await page.tap("#close-drawer");
      else await page.run("document.querySelector('dialog[open]').close()");
    }
    const other = theme === "light" ? "dark" : "light";
    await page.tap("#settings-button");
    await page.tap("#settings .tabs button:nth-child(3)");
    await page.run(`(() => { const s = document.querySelector('[name=theme]'); s.value = '${other}'; s.dispatchEvent(new Event('change')); })()`);
    assert.equal(await page.run("document.documentElement.dataset.theme"), other);
    await page.reload();
    assert.equal(await page.run("document.documentElement.dataset.theme"), other);
  });
}

test("those who want no motion get none", async () => {
  await page.media([["prefers-reduced-motion", "reduce"]]);
  await send("please-stall");
  await page.until("document.querySelector('.bits')");
  assert.equal(await page.run("document.getAnimations().length"), 0);
  await page.tap("#send");
  await idle();
});

test("a browser that keeps nothing: it works, and says that the history will be gone", async () => {
  await page.call("Page.addScriptToEvaluateOnNewDocument", { source: "Object.defineProperty(globalThis, 'indexedDB', { value: { open() { throw new Error('no'); } } }); Object.defineProperty(globalThis, 'localStorage', { get() { throw new Error('no'); } });" });
  await page.goto(mock.url);
  await page.until("/keeps no history/.test(document.querySelector('.toast')?.textContent)");
  await say("hello");
  assert.match((await texts())[1], /You said: hello/);
});

test("a long chat opens with its newest part", async () => {
  await say("hello");
  await page.run(`import("./ui/store.js").then(async (store) => {
    const [chat] = await store.chats();
    let parent = chat.leaf;
    const messages = [];
    for (let i = 0; i < 300; i++) {
      const message = { id: "z" + String(i).padStart(5, "0"), chat: chat.id, parent, role: i % 2 ? "assistant" : "user", content: "message **" + i + "**", thinking: "", state: "done", created: i };
      parent = message.id;
      messages.push(message);
    }
    await store.put([{ ...chat, leaf: parent }], messages);
  })`);
  await page.reload();
  assert.equal(await count(), 40);
  assert.equal(await page.run(`${LAST}.querySelector('.markdown').textContent`), "message 299");
  await page.run("document.querySelector('#log').scrollTop = 0");
  await page.tap("#earlier");
  await page.until("document.querySelectorAll('.message').length === 80");
});

test("two tabs: one sees what the other wrote", async () => {
  await say("from the first");
  const { targetId } = await browser.call("Target.createTarget", { url: "about:blank", browserContextId: page.context });
  const { Page } = await import("./browser.mjs");
  const other = new Page(browser, page.context);
  await other.attach(targetId);
  await other.size(360, 740);
  await other.goto(await page.run("location.href"));
  assert.equal(await other.run("document.querySelector('.bubble').textContent"), "from the first");
  await browser.call("Target.activateTarget", { targetId: page.target });
  await say("and more");
  await other.until("document.querySelectorAll('.message').length === 4 && !document.querySelector('.live')");
  assert.match(await other.run(`${LAST}.textContent`), /You said: and more/);
  assert.deepEqual(other.faults, []);
});
