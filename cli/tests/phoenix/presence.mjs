// Presence as the client's own `Presence` sees it, against what the server says.

import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { Log, outcome, within } from "./kit.mjs";

const CLIENTS = 200;
const STEPS = 5;

/** The refs of each key. */
const refsOf = (state) =>
  Object.fromEntries(
    Object.entries(state)
      .map(([key, { metas }]) => [key, metas.map((meta) => meta.phx_ref).sort()])
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );

const viewOf = (presence) => refsOf(Object.fromEntries(presence.list((key, entry) => [key, entry])));

/** A channel with the client's `Presence` on it, whose calls are logged. */
function present(library, tab, topic, payload = {}) {
  const channel = tab.socket.channel(topic, payload);
  const presence = new library.Presence(channel);
  const log = { joined: new Log(`join on ${topic}`), left: new Log(`leave on ${topic}`), synced: new Log("sync") };
  presence.onJoin((key, current, entry) => log.joined.add({ key, had: current?.metas.length ?? 0, entry }));
  presence.onLeave((key, current, entry) => log.left.add({ key, left: current.metas.length, entry }));
  presence.onSync(() => log.synced.add(true));
  return { channel, presence, ...log, ok: outcome(channel.join(), `join of ${topic}`) };
}

export async function joinedTo(...given) {
  const room = present(...given);
  assert.equal((await room.ok).status, "ok");
  await room.synced.take();
  return room;
}

/** Waits until `is()` is true; it is looked at again whenever something may have changed. */
export async function until(is, what, ms) {
  const looked = (async () => {
    while (!(await is())) await new Promise((resolve) => setTimeout(resolve, 20));
  })();
  await within(looked, what, ms);
}

/** Waits until the clients see what the server says. */
export async function agreed(server, topic, rooms) {
  let is;
  const differs = ({ presence }) => JSON.stringify(viewOf(presence)) !== JSON.stringify(is);
  const agree = async () => {
    is = refsOf(await server.admin("presence", { topic }));
    return !rooms.some(differs);
  };
  await until(agree, `agreement on ${topic}`).catch((error) => {
    const [first] = rooms.filter(differs);
    const sees = viewOf(first.presence);
    const keys = [...new Set([...Object.keys(sees), ...Object.keys(is)])];
    const apart = keys.filter((key) => String(sees[key]) !== String(is[key]));
    const said = apart.slice(0, 5).map((key) => `${key}: sees ${sees[key]}, is ${is[key]}`);
    const { state } = first.channel;
    error.message += `: ${rooms.filter(differs).length} differ; one (${state}) in ${apart.length}: ${said.join("; ")}`;
    throw error;
  });
  return is;
}

/** Waits until these users, and nobody else, are in a room as all servers and all clients see it. */
export async function seenAlike(servers, topic, rooms, users, ms) {
  let views;
  const alike = async () => {
    const said = await Promise.all(servers.map((server) => server.admin("presence", { topic })));
    views = [...said.map(refsOf), ...rooms.map(({ presence }) => viewOf(presence))];
    return views.every((view) => isDeepStrictEqual(view, views[0])) && isDeepStrictEqual(Object.keys(views[0]), users);
  };
  await until(alike, `one view of ${users}`, ms).catch((error) => {
    error.message += `: ${views.map((view) => Object.keys(view)).join(" | ")}`;
    throw error;
  });
}

/** Numbers that look random, the same in each run. */
function seeded(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

export const presenceCases = {
  async "presence: a joiner sees who is there, and both see each other change and go"({ library, server, tab }) {
    const topic = "room:present";
    const [ann, ben] = await Promise.all([tab("ann").connect(), tab("ben").connect()]);
    const at = await joinedTo(library, ann, topic);
    const to = await joinedTo(library, ben, topic);
    assert.deepEqual(Object.keys(await agreed(server, topic, [at, to])), ["ann", "ben"]);
    const [meta] = at.presence.state.ben.metas;
    assert.equal(meta.status, "online");
    assert.ok(Math.abs(meta.online_at - Date.now() / 1000) < 600);

    at.joined.rest();
    at.left.rest();
    assert.equal((await outcome(to.channel.push("status", { status: "away" }), "status")).status, "ok");
    const change = await at.joined.take();
    assert.equal((await at.left.take()).left, 1, "the key never vanishes");
    assert.deepEqual([change.key, change.had, change.entry.metas[0].status], ["ben", 1, "away"]);
    assert.equal(change.entry.metas[0].phx_ref_prev, meta.phx_ref);

    await outcome(to.channel.leave(), "leave");
    assert.deepEqual(await at.left.take().then(({ key, left }) => [key, left]), ["ben", 0]);
    assert.deepEqual(Object.keys(await agreed(server, topic, [at])), ["ann"]);
  },

  async "presence: several tabs are one key with several metas"({ library, server, tab }) {
    const topic = "room:tabs";
    const watcher = await joinedTo(library, await tab("watcher").connect(), topic);
    const tabs = await Promise.all([1, 2, 3].map(() => tab("ann").connect()));
    const rooms = [];
    for (const one of tabs) rooms.push(await joinedTo(library, one, topic));
    const state = await agreed(server, topic, [watcher, ...rooms]);
    assert.deepEqual([Object.keys(state), state.ann.length], [["ann", "watcher"], 3]);
    watcher.left.rest();
    tabs[0].socket.disconnect();
    await outcome(rooms[1].channel.leave(), "leave");
    tabs[2].socket.disconnect();
    const left = [await watcher.left.take()];
    while (left.at(-1).left > 0) left.push(await watcher.left.take());
    assert.deepEqual(Object.keys(await agreed(server, topic, [watcher])), ["watcher"]);
  },

  async "presence: by the user of the join, or by a key of its own"({ library, server, tab }) {
    const topic = "room:keys";
    const ann = await joinedTo(library, await tab("ann").connect(), topic, { user: "as-ben" });
    const nobody = await joinedTo(library, await tab("").connect(), topic);
    const keys = Object.keys(await agreed(server, topic, [ann, nobody]));
    assert.equal(keys.length, 2);
    assert.ok(keys.includes("as-ben"));
  },

  async "presence: a channel that crashes leaves, and comes back with a new state"({ library, server, tab }) {
    const topic = "room:crash-present";
    const [ann, ben] = await Promise.all([tab("ann").connect(), tab("ben").connect()]);
    const at = await joinedTo(library, ann, topic);
    const to = await joinedTo(library, ben, topic);
    const before = await agreed(server, topic, [at, to]);
    to.synced.rest();
    to.channel.push("crash", {});
    await to.synced.take();
    await until(() => to.channel.state === "joined", "rejoin");
    const after = await agreed(server, topic, [at, to]);
    assert.deepEqual(after.ann, before.ann);
    assert.notDeepEqual(after.ben, before.ben);
  },

  async "presence: a storm of clients that come, change, go and crash ends in one view"({ library, server, tab }) {
    const topic = "room:storm";
    const random = seeded(1);
    const tabs = await Promise.all(Array.from({ length: CLIENTS }, (_, n) => tab(`user${n % 150}`).connect()));
    let rooms = await Promise.all(tabs.map((one) => joinedTo(library, one, topic)));
    for (let step = 0; step < STEPS; step += 1) {
      rooms = await Promise.all(
        rooms.map(async (room, n) => {
          switch (random(6)) {
            case 0:
              room.channel.push("crash", {});
              return room;
            case 1:
              await outcome(room.channel.leave(), "leave");
              return joinedTo(library, tabs[n], topic);
            case 2:
              // The connection is lost without a word, and comes back by itself.
              tabs[n].lose();
              return room;
            default:
              // It may be lost to a crash before: then it times out, or is sent after the rejoin.
              room.channel.push("status", { status: `${step}` });
              return room;
          }
        }),
      );
    }
    const stays = rooms.filter((_, n) => n % 4 !== 0);
    rooms.forEach((_, n) => n % 4 === 0 && tabs[n].socket.disconnect());
    await until(() => stays.every(({ channel }) => channel.state === "joined"), "all to be joined again");
    const state = await agreed(server, topic, stays);
    assert.equal(Object.values(state).flat().length, stays.length);
  },
};
