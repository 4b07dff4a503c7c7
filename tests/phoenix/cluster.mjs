// Three nodes over the real NATS server, with clients of each: what is broadcast and who is present is one.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { within } from "./kit.mjs";
import { agreed, joinedTo } from "./presence.mjs";
import { Server } from "./server.mjs";

// Where Debian puts it, which is on the path of an administrator alone.
const PROGRAM = existsSync("/usr/sbin/nats-server") ? "/usr/sbin/nats-server" : "nats-server";
const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** A `nats-server`: on a port that it chooses, or again on the same one. */
async function nats(port = -1) {
  const child = spawn(PROGRAM, ["-a", "127.0.0.1", "-p", `${port}`], { stdio: ["ignore", "ignore", "pipe"] });
  running.add(child);
  const listening = new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", () => reject(new Error("nats-server has ended")));
    createInterface({ input: child.stderr }).on("line", (line) => {
      const match = /client connections on 127\.0\.0\.1:(\d+)/.exec(line);
      if (match) resolve(Number(match[1]));
    });
  });
  const at = await within(listening, "nats-server to listen");
  const kill = () =>
    new Promise((resolve) => {
      running.delete(child);
      child.once("exit", resolve);
      child.kill("SIGKILL");
    });
  return { port: at, kill };
}

const node = (server, name, port = 0) =>
  Server.start({ port, options: ["--admin", "--cluster", `nats://127.0.0.1:${server.port}`, "--node", name] });

/** Waits until a node's health says so of its cluster. */
async function health(server, expected) {
  const is = async () => (await (await fetch(server.url("/health"))).json()).cluster.health;
  const looked = (async () => {
    while ((await is()) !== expected) await new Promise((resolve) => setTimeout(resolve, 50));
  })();
  await within(looked, `health ${expected}`);
}

/** A channel of a client of a node, and what it hears. */
async function member(library, tab, at, user, topic) {
  const one = await tab(user, {}, at).connect();
  const room = await joinedTo(library, one, topic);
  const heard = [];
  let listener = () => {};
  room.channel.on("new_msg", ({ body }) => {
    heard.push(body);
    listener();
  });
  /** Waits until it has heard `body`. */
  const hears = (body) =>
    within(
      new Promise((resolve) => {
        listener = () => heard.includes(body) && resolve();
        listener();
      }),
      `${user} to hear ${body}`,
    );
  return { ...room, tab: one, heard, hears, say: (body) => room.channel.push("new_msg", { body }) };
}

export const clusterCases = {
  async "cluster: what is said and who is there is one on three nodes"({ library, tab }) {
    if (library.client !== "1.8") return "one client is enough";
    const bus = await nats();
    const nodes = await Promise.all(["a", "b", "c"].map((name) => node(bus, name)));
    const topic = "room:cluster";
    const all = [];
    for (const [n, at] of nodes.entries()) all.push(await member(library, tab, at, `user${n}`, topic));
    for (const at of nodes) assert.equal(Object.keys(await agreed(at, topic, all)).length, 3);
    for (let n = 0; n < 300; n += 1) all[0].say(`${n}`);
    for (const one of all) {
      await one.hears("299");
      assert.deepEqual(one.heard, Array.from({ length: 300 }, (_, n) => `${n}`));
    }
    // One user everywhere, and from anywhere.
    await nodes[2].admin("disconnect", { id: "users_socket:user1" });
    await all[1].tab.closed.take();
    await all[1].synced.take();

    // NATS goes: each node serves its own. It comes back: they are one again.
    await bus.kill();
    for (const at of nodes) await health(at, "connecting");
    all[0].say("alone");
    await all[0].hears("alone");
    const again = await nats(bus.port);
    for (const at of nodes) await health(at, "ready");
    all[2].say("together");
    for (const one of all) await one.hears("together");
    for (const at of nodes) assert.equal(Object.keys(await agreed(at, topic, all)).length, 3);

    // A node that ends in order leaves at once, and its next life is another.
    await nodes[2].stop("SIGTERM");
    await within(leftAll(all[0], ["user2"]), "user2 to leave");
    assert.equal(Object.keys(await agreed(nodes[0], topic, all.slice(0, 2))).length, 2);
    await Promise.all(nodes.slice(0, 2).map((at) => at.stop("SIGKILL")));
    await again.kill();
  },

  async "cluster: nodes that are killed or stopped leave, and come back"({ library, tab }) {
    if (library.client !== "1.8") return "one client is enough";
    const bus = await nats();
    const [a, b, c] = await Promise.all(["a", "b", "c"].map((name) => node(bus, name)));
    const topic = "room:faults";
    const ann = await member(library, tab, a, "ann", topic);
    const ben = await member(library, tab, b, "ben", topic);
    const cat = await member(library, tab, c, "cat", topic);
    await agreed(a, topic, [ann, ben, cat]);
    const begin = Date.now();
    await b.stop("SIGKILL");
    c.child.kill("SIGSTOP");
    const left = await within(leftAll(ann, ["ben", "cat"]), "both to leave", 40_000);
    console.log(`seen gone after ${((left - begin) / 1000).toFixed(1)} s`);
    assert.deepEqual(Object.keys(await agreed(a, topic, [ann])), ["ann"]);
    // It was stopped itself, and takes nobody for gone; the others see it as it is.
    cat.left.rest();
    c.child.kill("SIGCONT");
    await within(present(ann, "cat"), "cat to come back");
    ann.say("welcome");
    await cat.hears("welcome");
    assert.ok(!cat.left.rest().some(({ key }) => key === "ann"), "nobody left whom it had not lost");
    // The same name again, another life.
    const again = await node(bus, "b", b.port);
    await within(present(ann, "ben"), "ben to come back");
    assert.deepEqual(Object.keys(await agreed(again, topic, [ann, ben])).sort(), ["ann", "ben", "cat"]);
    await Promise.all([a, again, c].map((at) => at.stop("SIGKILL")));
    await bus.kill();
  },
};

/** When all of `keys` have left the view of a client. */
async function leftAll({ presence, left }, keys) {
  while (keys.some((key) => presence.state[key])) await left.take(40_000);
  return Date.now();
}

async function present({ presence, joined }, key) {
  while (!presence.state[key]) await joined.take();
}
