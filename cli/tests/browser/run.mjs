// node run.mjs CLIENT: two tabs of the demo page chat, in the browser that CHROMIUM names, through the real program,
// which FANFARE_BIN names. CLIENT is `fanfare`, the page's own module, or `phoenix`, the one from npm through --assets.
// Prints `ok NAME` or `not ok NAME: why`; exits with 1 on failure. Screenshots go to FANFARE_ARTIFACTS.

import assert from "node:assert/strict";
import { existsSync, mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { Server } from "../phoenix/server.mjs";

const WAIT_MS_MAX = 30_000;
const HERE = dirname(fileURLToPath(import.meta.url));
const ASSETS = join(HERE, "../phoenix/node_modules/phoenix-1.8/priv/static");
const ARTIFACTS = process.env.FANFARE_ARTIFACTS ?? join(HERE, "../../../target/artifacts");
const FLAGS = [
  "--headless=new",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

/** A page of a user of its own, with everything that goes wrong on it. */
async function visit(browser, server, name, complaints) {
  const context = await browser.newContext({ viewport: { width: 900, height: 640 } });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS_MAX);
  page.on("pageerror", (error) => complaints.push(`${name}: ${error.stack ?? error}`));
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(server.url("/")) && !url.startsWith("data:")) complaints.push(`${name}: asks for ${url}`);
  });
  await page.goto(server.url("/#lobby"));
  await page.fill("#name", name);
  await page.press("#name", "Tab");
  await joined(page, "lobby");
  return page;
}

async function joined(page, room) {
  await page.waitForSelector('#status[data-status="open"]');
  await page.waitForSelector(`[role="tab"][data-room="${room}"][data-state="joined"]`);
}

async function say(page, text) {
  await page.fill("#body", text);
  await page.click("#send");
}

/** Waits for the message and returns what the page shows of it. */
async function heard(page, text) {
  const body = page.locator("#messages > li [data-body]", { hasText: text });
  await body.waitFor();
  return body.evaluate((node) => {
    const item = node.closest("li");
    const { user, room, mine } = item.dataset;
    const author = item.querySelector("b").textContent;
    return { body: node.textContent, user, room, mine: mine !== undefined, author };
  });
}

async function twoTabsChat(server, pages) {
  const [ann, ben] = pages;
  await say(ann, "hello, Ben <b>&amp;</b>");
  const there = { body: "hello, Ben <b>&amp;</b>", user: "Ann", room: "lobby", author: "Ann" };
  assert.deepEqual(await heard(ben, "hello, Ben"), { ...there, mine: false });
  assert.deepEqual(await heard(ann, "hello, Ben"), { ...there, mine: true });
  await say(ben, "hello, Ann 👋");
  assert.equal((await heard(ann, "hello, Ann 👋")).user, "Ben");
  for (const page of pages) assert.deepEqual(await bodies(page), ["hello, Ben <b>&amp;</b>", "hello, Ann 👋"]);
}

async function roomsAreTabs(server, [ann, ben]) {
  await ann.fill("#room", "den & 茶");
  await ann.press("#room", "Enter");
  await joined(ann, "den & 茶");
  assert.deepEqual(await bodies(ann), []);
  await say(ben, "are you gone?");
  await ann.waitForSelector('[data-room="lobby"][data-unread="1"]');
  await say(ann, "only I am here");
  await heard(ann, "only I am here");
  await ann.click('[role="tab"][data-room="lobby"]');
  await heard(ann, "are you gone?");
  assert.deepEqual(await bodies(ann), await bodies(ben));
  await ann.click('[aria-label="Leave den & 茶"]');
  await ann.waitForSelector('[data-room="den & 茶"]', { state: "detached" });
}

/** What the page shows of who is online: name, tabs and mood. */
async function online(page, expected) {
  const seen = () => {
    const items = [...document.querySelectorAll("#online li")];
    return items.map(({ dataset }) => [dataset.name, dataset.tabs, dataset.mood].join(" ")).sort();
  };
  const isSo = `JSON.stringify((${seen})()) === ${JSON.stringify(JSON.stringify([...expected].sort()))}`;
  await page.waitForFunction(isSo).catch(async () => assert.deepEqual(await page.evaluate(seen), expected));
}

async function everybodySeesWhoIsOnline(server, [ann, ben]) {
  for (const page of [ann, ben]) await online(page, ["Ann 1 online", "Ben 1 online"]);
  await ben.selectOption("#mood", "away");
  for (const page of [ann, ben]) await online(page, ["Ann 1 online", "Ben 1 away"]);
  const second = await ben.context().newPage();
  await second.goto(server.url("/#lobby"));
  await joined(second, "lobby");
  for (const page of [ann, ben, second]) await online(page, ["Ann 1 online", "Ben 2 away"]);
  await ann.screenshot({ path: join(ARTIFACTS, `online-${await ann.getAttribute("html", "data-client")}.png`) });
  await ben.fill("#name", "Benjamin");
  await ben.press("#name", "Tab");
  await second.close();
  for (const page of [ann, ben]) await online(page, ["Ann 1 online", "Benjamin 1 away"]);
  await ben.fill("#name", "Ben");
  await ben.press("#name", "Tab");
  await ben.selectOption("#mood", "online");
  // Gone without a word: the whole browser of a third one.
  const third = await visit(ann.context().browser(), server, "Cleo", []);
  await online(ann, ["Ann 1 online", "Ben 1 online", "Cleo 1 online"]);
  await third.context().close();
  for (const page of [ann, ben]) await online(page, ["Ann 1 online", "Ben 1 online"]);
}

async function connectionComesBack(server, [ann, ben]) {
  for (const page of [ann, ben]) {
    await page.evaluate(() => {
      window.statuses = [];
      new MutationObserver(() => window.statuses.push(document.getElementById("status").dataset.status)).observe(
        document.getElementById("status"),
        { attributes: true, attributeFilter: ["data-status"] },
      );
    });
  }
  const end = await server.stop();
  assert.deepEqual(end, { code: 0, signal: null });
  const next = await Server.start({ port: server.port, options: server.options });
  for (const page of [ann, ben]) {
    await page.waitForFunction(() => window.statuses.includes("connecting"));
    await joined(page, "lobby");
  }
  await say(ben, "back again");
  await heard(ann, "back again");
  for (const page of [ann, ben]) await online(page, ["Ann 1 online", "Ben 1 online"]);
  return next;
}

const bodies = (page) => page.locator("#messages > li [data-body]").allTextContents();

async function main(client) {
  assert.ok(["fanfare", "phoenix"].includes(client), "CLIENT is fanfare or phoenix");
  assert.ok(existsSync(join(ASSETS, "phoenix.mjs")), "the packages of cli/tests/phoenix are not installed");
  const options = client === "phoenix" ? ["--assets", ASSETS] : [];
  mkdirSync(ARTIFACTS, { recursive: true });
  let server = Object.assign(await Server.start({ options }), { options });
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  const browser = await chromium.launch({ executablePath, args: FLAGS, timeout: 2 * WAIT_MS_MAX });
  const complaints = [];
  let pages = [];
  try {
    pages = await Promise.all(["Ann", "Ben"].map((name) => visit(browser, server, name, complaints)));
    for (const page of pages) assert.equal(await page.getAttribute("html", "data-client"), client);
    for (const step of [twoTabsChat, roomsAreTabs, everybodySeesWhoIsOnline, connectionComesBack]) {
      server = (await step(server, pages)) ?? server;
      console.log(`ok ${client}: ${step.name}`);
    }
    assert.deepEqual(complaints, []);
  } finally {
    for (const [at, page] of pages.entries()) {
      await page.screenshot({ path: join(ARTIFACTS, `chat-${client}-${at + 1}.png`) });
    }
    if (complaints.length > 0) console.log(complaints.join("\n"));
    await browser.close();
    await server.stop("SIGKILL");
  }
}

main(process.argv[2]).then(
  () => process.exit(0),
  (error) => {
    console.log(`not ok ${process.argv[2]}: ${error.stack}`);
    process.exit(1);
  },
);
