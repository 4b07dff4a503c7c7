// What an application relies on when the server is fanfare, each case for itself. A case gets `library` (the client
// under test), `server` (shared with the other cases; each has its own topics and users) and `tab`, which makes a tab.

import assert from "node:assert/strict";
import { outcome } from "./kit.mjs";
import { clusterCases } from "./cluster.mjs";
import { faultCases } from "./faults.mjs";
import { presenceCases } from "./presence.mjs";
import { Server } from "./server.mjs";

export const cases = {
  ...presenceCases,
  ...clusterCases,
  ...faultCases,

  async "connects, and joins with an empty reply"({ tab }) {
    const ann = await tab("ann").connect();
    await ann.join("room:join");
  },

  async "a push is replied to and broadcast with the payload as sent"({ tab }) {
    const room = await (await tab("ann").connect()).join("room:push");
    await room.say({ body: "grüße 👋 \u0000 \" \\", list: [1, -2.5, null, true, { deep: {} }], empty: "" });
    await room.say({});
    await room.say({ body: "x".repeat(200_000) });
  },

  async "what is pushed before the join is answered is sent after it"({ tab }) {
    const room = tab("ann").channel("room:early");
    const reply = room.push("new_msg", { body: "early" });
    room.channel.socket.connect();
    assert.deepEqual(await reply, { status: "ok", response: {} });
    assert.deepEqual(await room.on.new_msg.take(), { body: "early" });
  },

  async "a topic without a route is refused"({ tab }) {
    const room = (await tab("ann").connect()).channel("nowhere:1");
    assert.deepEqual(await room.joined.take(), { status: "error", response: { reason: "unmatched topic" } });
    room.channel.leave();
  },

  async "the channel of another user is refused, the own one is not"({ tab }) {
    const ann = await tab("ann-refused").connect();
    const other = ann.channel("users_socket:ben-refused");
    assert.deepEqual(await other.joined.take(), { status: "error", response: { reason: "unauthorized" } });
    other.channel.leave();
    await ann.join("users_socket:ann-refused");
  },

  async "a refused join is tried again by itself"({ tab }) {
    const room = (await tab("ann").connect()).channel("nowhere:2");
    for (let times = 0; times < 3; times += 1) assert.equal((await room.joined.take()).status, "error");
    room.channel.leave();
  },

  async "two tabs hear each other, in order"({ tab }) {
    const [ann, ben] = await Promise.all([tab("ann").connect(), tab("ben").connect()]);
    const [at, to] = await Promise.all([ann.join("room:two"), ben.join("room:two")]);
    const replies = [];
    for (let n = 0; n < 200; n += 1) replies.push(at.push("new_msg", { n }));
    for (let n = 0; n < 200; n += 1) {
      assert.deepEqual(await to.on.new_msg.take(), { n });
      assert.deepEqual(await at.on.new_msg.take(), { n });
    }
    for (const reply of await Promise.all(replies)) assert.equal(reply.status, "ok");
    await to.say({ body: "and back" });
    assert.deepEqual(await at.on.new_msg.take(), { body: "and back" });
  },

  async "channels of one socket keep apart"({ tab }) {
    const ann = await tab("ann").connect();
    const rooms = await Promise.all(Array.from({ length: 20 }, (_, n) => ann.join(`room:apart-${n}`)));
    await Promise.all(rooms.map((room, n) => room.say({ n })));
    for (const room of rooms) room.on.new_msg.none();
  },

  async "a push that nobody replies to times out, and is broadcast"({ tab }) {
    const room = await (await tab("ann").connect()).join("bench:timeout");
    const push = outcome(room.channel.push("new_msg", { n: 1 }, 300), "timeout of a push");
    assert.deepEqual(await room.on.new_msg.take(), { n: 1 });
    assert.equal((await push).status, "timeout");
  },

  async "a broadcast of the server reaches every member"({ server, tab }) {
    const [ann, ben] = await Promise.all([tab("ann").connect(), tab("ben").connect()]);
    const rooms = await Promise.all([ann, ben].map((one) => one.join("room:announce", ["announce"])));
    await server.admin("broadcast", { topic: "room:announce", event: "announce", payload: { at: [1, 2] } });
    for (const room of rooms) assert.deepEqual(await room.on.announce.take(), { at: [1, 2] });
  },

  async "after leave nothing comes, and the topic can be joined anew"({ tab }) {
    const [ann, ben] = await Promise.all([tab("ann").connect(), tab("ben").connect()]);
    const [left, stays] = await Promise.all([ann.join("room:leave"), ben.join("room:leave")]);
    assert.equal((await left.leave()).status, "ok");
    await left.closed.take();
    const marker = await ann.join("room:leave-marker");
    await stays.say({ body: "to whom it concerns" });
    await marker.say({ body: "comes after it" });
    left.on.new_msg.none();
    const frames = ann.frames.rest().map(String);
    assert.ok(frames.some((frame) => frame.includes("comes after it")));
    assert.ok(!frames.some((frame) => frame.includes("to whom it concerns")), "sent after the leave was replied to");
    const again = await ann.join("room:leave");
    await stays.say({ body: "welcome back" });
    assert.deepEqual(await again.on.new_msg.take(), { body: "welcome back" });
    left.on.new_msg.none();
    again.on.new_msg.none();
  },

  async "a crash is an error of that channel alone, which rejoins"({ tab }) {
    const ann = await tab("ann").connect();
    const [room, other] = await Promise.all([ann.join("room:crash"), ann.join("room:calm")]);
    for (let times = 0; times < 3; times += 1) {
      room.channel.push("crash", {});
      await room.errors.take();
      assert.equal((await room.joined.take()).status, "ok");
      await room.say({ times });
      await other.say({ times });
    }
    other.errors.none();
    other.joined.none();
    ann.closed.none();
  },

  async "a second channel object takes a topic over"({ library, tab }) {
    if (library.isOwn) return "our own client has no second object for a topic";
    const ann = await tab("ann").connect();
    const first = await ann.join("room:twice");
    const second = await ann.join("room:twice");
    await first.closed.take();
    for (let n = 0; n < 50; n += 1) await second.say({ n });
    second.on.new_msg.none();
    first.on.new_msg.none();
    second.errors.none();
  },

  async "bytes go both ways, as a reply and as a broadcast"({ tab }) {
    const [ann, ben] = await Promise.all([tab("ann").connect(), tab("ben").connect()]);
    const rooms = await Promise.all([ann, ben].map((one) => one.join("room:binary", ["binary"])));
    for (const length of [0, 1, 125, 126, 256, 65_535, 65_536, 200_000]) {
      const bytes = Uint8Array.from({ length }, (_, at) => at * 7 + length);
      const reply = await rooms[0].push("binary", bytes.buffer);
      assert.equal(reply.status, "ok");
      assertBytes(reply.response, bytes);
      for (const room of rooms) assertBytes(await room.on.binary.take(), bytes);
    }
  },

  async "heartbeats are answered, and keep the connection"({ tab }) {
    const ann = await tab("ann", { heartbeatIntervalMs: 50 }).connect();
    for (let beats = 0; beats < 5; ) {
      const [joinRef, ref, topic, event, payload] = JSON.parse(await ann.frames.take());
      assert.deepEqual([joinRef, topic, event], [null, "phoenix", "phx_reply"]);
      assert.deepEqual(payload, { status: "ok", response: {} });
      assert.match(ref, /^\d+$/);
      beats += 1;
    }
    ann.closed.none();
  },

  async "disconnect closes all of a user's tabs with 1001, and they come back"({ server, tab }) {
    const tabs = [tab("cut"), tab("cut"), tab("uncut")];
    await Promise.all(tabs.map((one) => one.connect()));
    const rooms = await Promise.all(tabs.map((one) => one.join("room:disconnect")));
    await server.admin("disconnect", { id: "users_socket:cut" });
    for (const at of [0, 1]) {
      assert.equal((await tabs[at].closed.take()).code, 1001);
      await tabs[at].opened.take();
      assert.equal((await rooms[at].joined.take()).status, "ok");
    }
    await rooms[2].say({ body: "still here" });
    for (const at of [0, 1]) assert.deepEqual(await rooms[at].on.new_msg.take(), { body: "still here" });
    tabs[2].closed.none();
    rooms[2].joined.none();
  },

  async "a broadcast to a user reaches each tab of that user alone"({ server, tab }) {
    const tabs = [tab("one"), tab("one"), tab("another")];
    await Promise.all(tabs.map((one) => one.connect()));
    const events = ["force_logout", "marker"];
    const topics = ["users_socket:one", "users_socket:one", "users_socket:another"];
    const own = await Promise.all(tabs.map((one, at) => one.join(topics[at], events)));
    await server.admin("broadcast", { topic: "users_socket:one", event: "force_logout", payload: { why: "test" } });
    for (const at of [0, 1]) assert.deepEqual(await own[at].on.force_logout.take(), { why: "test" });
    for (const topic of new Set(topics)) await server.admin("broadcast", { topic, event: "marker", payload: {} });
    for (const at of [0, 1, 2]) {
      await own[at].on.marker.take();
      own[at].on.force_logout.none();
    }
    assert.ok(!tabs[2].frames.rest().some((frame) => String(frame).includes("force_logout")), "sent to another user");
  },

  async "a client of protocol 1.0.0 is served beside one of 2.0.0"({ library, tab }) {
    if (library.isOwn) return "our own client speaks 2.0.0 alone";
    const encode = ({ topic, event, payload, ref }, done) => done(JSON.stringify({ topic, event, payload, ref }));
    const decode = (text, done) => done(JSON.parse(text));
    const old = await tab("old", { vsn: "1.0.0", encode, decode }).connect();
    const [there, here] = [await old.join("room:v1"), await (await tab("new").connect()).join("room:v1")];
    await there.say({ body: "from 1.0.0" });
    assert.deepEqual(await here.on.new_msg.take(), { body: "from 1.0.0" });
    await here.say({ body: "from 2.0.0" });
    assert.deepEqual(await there.on.new_msg.take(), { body: "from 2.0.0" });
    const frame = JSON.parse(await old.frames.take());
    assert.deepEqual(Object.keys(frame).sort(), ["event", "payload", "ref", "topic"]);
  },

  async "clients come back to a server that was killed and started again"({ tab }) {
    await restart(tab, "SIGKILL", ({ code }) => assert.equal(code, 1006));
  },

  async "clients come back to a server that was stopped, which told them 1012"({ tab }) {
    const end = await restart(tab, "SIGTERM", ({ code }) => assert.equal(code, 1012));
    assert.deepEqual(end, { code: 0, signal: null });
  },
};

/** Two joined tabs of a server of their own, which ends by `signal` and is started anew on its port. */
async function restart(tab, signal, checkClose) {
  const first = await Server.start();
  const tabs = [tab("ann", {}, first), tab("ben", {}, first)];
  await Promise.all(tabs.map((one) => one.connect()));
  const rooms = await Promise.all(tabs.map((one) => one.join("room:restart")));
  await rooms[0].say({ body: "before" });
  assert.deepEqual(await rooms[1].on.new_msg.take(), { body: "before" });
  const end = await first.stop(signal);
  for (const one of tabs) checkClose(await one.closed.take());
  const second = await Server.start({ port: first.port });
  for (const room of rooms) assert.equal((await room.joined.take()).status, "ok");
  await rooms[1].say({ body: "after" });
  assert.deepEqual(await rooms[0].on.new_msg.take(), { body: "after" });
  for (const one of tabs) one.socket.disconnect();
  await second.stop("SIGKILL");
  return end;
}

function assertBytes(given, wanted) {
  assert.ok(given instanceof ArrayBuffer, `not bytes: ${JSON.stringify(given)}`);
  assert.ok(Buffer.from(given).equals(Buffer.from(wanted.buffer)), `other bytes than the ${wanted.length} sent`);
}
