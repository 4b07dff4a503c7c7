// node run.mjs CLIENT.. [-- PART]: the cases (those whose name contains PART) with each CLIENT against the real program,
// which FANFARE_BIN names. CLIENT is 1.7 or 1.8, the phoenix package of that version, or `own`, the demo page's client.
// Prints `ok NAME` or `not ok NAME: why` for each, and last a table of the times of convergence; exits with 1 if any
// failed.

import { cases } from "./cases.mjs";
import { Tab, times } from "./kit.mjs";
import { Server } from "./server.mjs";

const CASE_MS_MAX = 60_000;
const CLIENTS = { 1.7: "phoenix-1.7", 1.8: "phoenix-1.8", own: "../../src/page/fanfare.mjs" };

async function runCase(library, server, run) {
  const tabs = [];
  const tab = (userId, options, at = server) => {
    tabs.push(new Tab(library, at, userId, options));
    return tabs.at(-1);
  };
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${CASE_MS_MAX / 1000} s`)), CASE_MS_MAX);
  });
  try {
    return await Promise.race([run({ library, server, tab }), late]);
  } finally {
    clearTimeout(timer);
    for (const { socket } of tabs) socket.disconnect();
  }
}

async function main() {
  const given = process.argv.slice(2);
  const split = given.indexOf("--");
  const clients = split < 0 ? given : given.slice(0, split);
  const part = split < 0 ? "" : given.slice(split + 1).join(" ");
  const selected = Object.entries(cases).filter(([name]) => name.includes(part));
  if (clients.length === 0 || selected.length === 0) throw new Error("nothing to run: see the head of run.mjs");
  let failed = 0;
  for (const client of clients) {
    if (!CLIENTS[client]) throw new Error(`no client ${client}`);
    const library = { ...(await import(CLIENTS[client])), isOwn: client === "own", client };
    const server = await Server.start();
    for (const [name, run] of selected) {
      try {
        const left = await runCase(library, server, run);
        console.log(left ? `left out ${client}: ${name}: ${left}` : `ok ${client}: ${name}`);
      } catch (error) {
        failed += 1;
        console.log(`not ok ${client}: ${name}: ${error.message}\n${error.stack}`);
      }
    }
    await server.stop("SIGKILL");
  }
  if (times.length > 0) {
    console.log("\n| converged | seconds |\n|---|---|");
    for (const [what, ms] of times) console.log(`| ${what} | ${(ms / 1000).toFixed(2)} |`);
  }
  return failed;
}

process.on("unhandledRejection", (error) => {
  console.log(`not ok: a rejection that nobody awaits: ${error?.stack ?? error}`);
  process.exit(1);
});
main().then(
  (failed) => process.exit(failed === 0 ? 0 : 1),
  (error) => {
    console.log(`not ok: ${error.stack}`);
    process.exit(1);
  },
);
