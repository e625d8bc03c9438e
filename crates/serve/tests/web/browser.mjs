// Drives Chromium by its DevTools protocol over two pipes: no package, no port. Every wait asks again until it is so or a
// generous time is over, so that a slow machine only makes the tests slower.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const PATIENCE = 60_000; // ms until a wait has failed
export const CHROMIUM = process.env.NIBBLE_CHROMIUM ?? "chromium";

export class Browser {
  static async start() {
    const browser = new Browser();
    browser.profile = mkdtempSync(join(tmpdir(), "nibble-web-"));
    browser.process = spawn(CHROMIUM, [
      "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--mute-audio",
      "--hide-scrollbars", "--disable-background-networking", "--disable-component-update", "--disable-features=Translate,MediaRouter", `--user-data-dir=${browser.profile}`, "about:blank",
    ], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    process.on("exit", () => browser.process.kill()); // also when a test broke off
    const [, , , input, output] = browser.process.stdio;
    browser.input = input;
    browser.next = 1;
    browser.open = new Map();
    browser.listeners = new Set();
    let rest = Buffer.alloc(0);
    output.on("data", (piece) => {
      rest = Buffer.concat([rest, piece]);
      for (let end; (end = rest.indexOf(0)) >= 0; rest = rest.subarray(end + 1)) browser.take(JSON.parse(rest.subarray(0, end)));
    });
    input.on("error", () => {}); // the browser went away: the waiting calls say so
    browser.process.on("exit", () => {
      for (const { reject } of browser.open.values()) reject(new Error("the browser ended"));
    });
    await browser.call("Browser.getVersion");
    return browser;
  }
  take(message) {
    const waiting = this.open.get(message.id);
    if (waiting) {
      this.open.delete(message.id);
      if (message.error) waiting.reject(new Error(`${waiting.method}: ${message.error.message}`));
      else waiting.resolve(message.result);
    } else for (const listen of this.listeners) listen(message);
  }
  call(method, params = {}, sessionId) {
    return new Promise((resolve, reject) => {
      const id = this.next++;
      this.open.set(id, { resolve, reject, method });
      this.input.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }
  async stop() {
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.call("Browser.close").catch(() => {});
    await ended;
    rmSync(this.profile, { recursive: true, force: true, maxRetries: 5 });
  }
  /** A fresh page with its own storage, as a phone of 360 by 740 unless told otherwise. */
  async page({ width = 360, height = 740, touch = true, features = [] } = {}) {
    const { browserContextId } = await this.call("Target.createBrowserContext");
    const { targetId } = await this.call("Target.createTarget", { url: "about:blank", browserContextId });
    const page = new Page(this, browserContextId);
    await page.attach(targetId);
    await page.size(width, height, touch);
    await page.media(features);
    return page;
  }
}

export class Page {
  constructor(browser, context) {
    this.browser = browser;
    this.context = context;
    /** Messages of the console, exceptions and breaches of the policy; a test says that there are none. */
    this.faults = [];
    this.expected = []; // parts of faults that a test brings about by intent
  }
  async attach(targetId) {
    this.target = targetId;
    ({ sessionId: this.session } = await this.browser.call("Target.attachToTarget", { targetId, flatten: true }));
    this.browser.listeners.add((message) => message.sessionId === this.session && this.hear(message));
    for (const domain of ["Page", "Runtime", "Log", "Network", "Accessibility", "Audits"]) await this.call(`${domain}.enable`);
  }
  hear({ method, params }) {
    const fault = {
      "Runtime.exceptionThrown": () => params.exceptionDetails.exception?.description ?? params.exceptionDetails.text,
      "Runtime.consoleAPICalled": () => ["error", "warning", "assert"].includes(params.type) && params.args.map((arg) => arg.value ?? arg.description).join(" "),
      "Log.entryAdded": () => ["error", "warning"].includes(params.entry.level) && `${params.entry.text} ${params.entry.url ?? ""}`,
      "Audits.issueAdded": () => params.issue.code === "ContentSecurityPolicyIssue" && JSON.stringify(params.issue.details),
    }[method]?.();
    if (fault && !this.expected.some((part) => fault.includes(part))) this.faults.push(fault);
    if (method === "Page.javascriptDialogOpening") this.call("Page.handleJavaScriptDialog", { accept: true }).catch(() => {});
  }
  call(method, params) {
    return this.browser.call(method, params, this.session);
  }
  async size(width, height, touch = true) {
    this.touch = touch;
    await this.call("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 2, mobile: touch });
    await this.call("Emulation.setTouchEmulationEnabled", { enabled: touch, maxTouchPoints: touch ? 5 : 1 });
  }
  media(features) {
    return this.call("Emulation.setEmulatedMedia", { features: features.map(([name, value]) => ({ name, value })) });
  }
  async goto(url) {
    await this.call("Page.navigate", { url });
    await this.ready();
  }
  async reload() {
    await this.run("globalThis.old = true");
    await this.call("Page.reload");
    await this.until("!globalThis.old");
    await this.ready();
  }
  ready() {
    return this.until("document.documentElement?.dataset.ready !== undefined");
  }
  /** The value of an expression (or of a promise) in the page. */
  async run(expression) {
    const { result, exceptionDetails } = await this.call("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true, userGesture: true });
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text);
    return result.value;
  }
  /** Waits until the expression is true; gives its value. */
  async until(expression) {
    const end = Date.now() + PATIENCE;
    let last;
    do {
      try {
        last = await this.run(expression);
      } catch (error) {
        last = error.message; // between two documents there is nothing to ask
        if (!/context|navigat|target/i.test(last)) throw error;
        last = undefined;
      }
      if (last) return last;
      await new Promise((resolve) => setTimeout(resolve, 30));
    } while (Date.now() < end);
    throw new Error(`never became true: ${expression}`);
  }
  /** The middle of an element that can be hit there; waits for it. */
  async middle(selector) {
    const at = `(() => {
      const element = document.querySelector(${JSON.stringify(selector)});
      if (!element || element.disabled) return null;
      element.scrollIntoView({ block: "nearest" });
      const { left, top, width, height } = element.getBoundingClientRect();
      const x = left + width / 2, y = top + height / 2;
      const hit = document.elementFromPoint(x, y);
      return width > 0 && hit && (element.contains(hit) || hit.contains(element)) ? { x, y } : null;
    })()`;
    return this.until(at);
  }
  async tap(selector) {
    // Twice, as a sheet or the drawer may still be moving.
    let point = await this.middle(selector);
    for (let again; ; point = again) {
      await new Promise((resolve) => setTimeout(resolve, 40));
      again = await this.middle(selector);
      if (again.x === point.x && again.y === point.y) break;
    }
    if (this.touch) {
      await this.call("Input.dispatchTouchEvent", { type: "touchStart", touchPoints: [point] });
      await this.call("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
    } else {
      for (const type of ["mousePressed", "mouseReleased"]) await this.call("Input.dispatchMouseEvent", { type, ...point, button: "left", clickCount: 1 });
    }
  }
  async swipe(from, to) {
    await this.call("Input.dispatchTouchEvent", { type: "touchStart", touchPoints: [from] });
    for (let i = 1; i <= 5; i++) {
      const point = { x: from.x + ((to.x - from.x) * i) / 5, y: from.y + ((to.y - from.y) * i) / 5 };
      await this.call("Input.dispatchTouchEvent", { type: "touchMove", touchPoints: [point] });
    }
    await this.call("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
  }
  type(text) {
    return this.call("Input.insertText", { text });
  }
  /** Presses a key, with `ctrl` and `shift` if said. */
  async key(key, { ctrl = false, shift = false } = {}) {
    const codes = { Enter: 13, Escape: 27, Tab: 9, Space: 32 };
    const text = key === "Enter" ? "\r" : key === "Space" ? " " : undefined;
    const event = {
      key: key === "Space" ? " " : key, code: key.length === 1 ? `Key${key.toUpperCase()}` : key, modifiers: (ctrl ? 2 : 0) + (shift ? 8 : 0),
      windowsVirtualKeyCode: codes[key] ?? key.toUpperCase().charCodeAt(0),
    };
    await this.call("Input.dispatchKeyEvent", { type: text && !ctrl ? "keyDown" : "rawKeyDown", text: ctrl ? undefined : text, ...event });
    await this.call("Input.dispatchKeyEvent", { type: "keyUp", ...event });
  }
  async picture(path) {
    const { writeFileSync } = await import("node:fs");
    const { data } = await this.call("Page.captureScreenshot", { format: "png" });
    writeFileSync(path, Buffer.from(data, "base64"));
  }
  async close() {
    await this.browser.call("Target.disposeBrowserContext", { browserContextId: this.context });
  }
}
