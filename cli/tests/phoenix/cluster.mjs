// Nodes over the real NATS server, with clients of each: what is broadcast and who is present is one. How long it
// takes until it is one again after a fault is printed (`took`). faults.mjs has what befalls messages under way.

import assert from "node:assert/strict";
import { took, within } from "./kit.mjs";
import { Link, Nats } from "./nats.mjs";
import { agreed, joinedTo, seenAlike, until } from "./presence.mjs";
import { Server } from "./server.mjs";

/** A node that reaches NATS at `at.port`: at the server, or over a link. */
export const node = (at, name, port = 0) =>
  Server.start({ port, options: ["--admin", "--cluster", `nats://127.0.0.1:${at.port}`, "--node", name] });

/** What a node says of its cluster. */
export const figures = async (server) => (await (await fetch(server.url("/health"))).json()).cluster;

/** Waits until a node's health says so of its cluster. */
export const health = (server, expected) =>
  until(async () => (await figures(server)).health === expected, `health ${expected}`);

/** A channel of a client of a node, and what it hears. */
export async function member(library, tab, at, user, topic) {
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
    const bus = await Nats.start();
    const nodes = await Promise.all(["a", "b", "c"].map((name) => node(bus, name)));
    const topic = "room:cluster";
    const all = [];
    for (const [n, at] of nodes.entries()) all.push(await member(library, tab, at, `user${n}`, topic));
    await seenAlike(nodes, topic, all, ["user0", "user1", "user2"]);
    for (let n = 0; n < 300; n += 1) all[0].say(`${n}`);
    for (const one of all) {
      await one.hears("299");
      assert.deepEqual(one.heard, Array.from({ length: 300 }, (_, n) => `${n}`));
    }
    // One user everywhere, and from anywhere.
    await nodes[2].admin("disconnect", { id: "users_socket:user1" });
    await all[1].tab.closed.take();
    await all[1].synced.take();

    // NATS goes: each node serves its own. It comes back: they are one again, with whoever has come meanwhile.
    await bus.kill();
    for (const at of nodes) await health(at, "connecting");
    all[0].say("alone");
    await all[0].hears("alone");
    all.push(await member(library, tab, nodes[0], "user3", topic));
    await bus.restart();
    const restarted = performance.now();
    for (const at of nodes) await health(at, "ready");
    all[2].say("together");
    for (const one of all) await one.hears("together");
    await seenAlike(nodes, topic, all, ["user0", "user1", "user2", "user3"]);
    took("NATS killed and restarted: all nodes ready, messages and views one, since it listens", restarted);

    // A node that ends in order leaves at once, not after the 15 s in which one that falls silent is waited for.
    const told = performance.now();
    nodes[2].child.kill("SIGTERM");
    const stays = all.filter((one) => one !== all[2]);
    await seenAlike(nodes.slice(0, 2), topic, stays, ["user0", "user1", "user3"], 5_000);
    took("a node ended by SIGTERM: gone from all views", told);
    await nodes[2].ended;
    await Promise.all(nodes.slice(0, 2).map((at) => at.stop("SIGKILL")));
    await bus.kill();
  },

  async "cluster: nodes that are killed, stopped or cut off leave, and come back"({ library, tab }) {
    if (library.client !== "1.8") return "one client is enough";
    const bus = await Nats.start();
    const link = await Link.to(bus);
    const [a, b, c, d] = await Promise.all([
      ...["a", "b", "c"].map((name) => node(bus, name)),
      node(link, "d"),
    ]);
    const topic = "room:faults";
    const [ann, ben, cat, dan] = await Promise.all(
      Object.entries({ ann: a, ben: b, cat: c, dan: d }).map(([user, at]) => member(library, tab, at, user, topic)),
    );
    await seenAlike([a, b, c, d], topic, [ann, ben, cat, dan], ["ann", "ben", "cat", "dan"]);
    const begin = performance.now();
    await b.stop("SIGKILL");
    c.child.kill("SIGSTOP");
    link.cut();
    await Promise.all([
      leaves(ann, "ben").then(() => took("a node killed: gone from the others' views", begin)),
      leaves(ann, "cat").then(() => took("a node stopped (SIGSTOP): gone from the others' views", begin)),
      Promise.all([leaves(ann, "dan"), ...["ann", "ben", "cat"].map((user) => leaves(dan, user))]).then(() =>
        took("a node cut off: gone from each other's views on both sides", begin),
      ),
    ]);
    assert.deepEqual(Object.keys(await agreed(a, topic, [ann])), ["ann"]);
    assert.deepEqual(Object.keys(await agreed(d, topic, [dan])), ["dan"]);

    // It was stopped itself, and takes nobody for gone whom it has not lost; the others see it as it is. Its own view
    // is that of the others once it has given the two that are away their time.
    cat.left.rest();
    const continued = performance.now();
    c.child.kill("SIGCONT");
    await seenAlike([a], topic, [ann], ["ann", "cat"]);
    took("the stopped node continued: back in the others' views", continued);
    ann.say("welcome");
    await cat.hears("welcome");
    assert.ok(!cat.left.rest().some(({ key }) => key === "ann"), "nobody left whom it had not lost");

    const healed = performance.now();
    link.heal();
    await seenAlike([a, d], topic, [ann, dan], ["ann", "cat", "dan"]);
    took("the link of the node that was cut off healed: one view again", healed);

    // The same name again, another life; its client comes back by itself.
    const started = performance.now();
    const again = await node(bus, "b", b.port);
    await seenAlike([a, again, c, d], topic, [ann, ben, cat, dan], ["ann", "ben", "cat", "dan"]);
    took("the killed node started again under its name: one view again", started);
    await Promise.all([a, again, c, d].map((at) => at.stop("SIGKILL")));
    await bus.kill();
  },
};

/** When a user has left the view of a client. */
const leaves = ({ presence }, user) => until(() => !presence.state[user], `${user} to leave`, 40_000);
