// What befalls messages under way between nodes: links that break, a server that is killed, nodes that are too slow.
// Numbers come once at most and in order; those that do not come are counted; and who is slow holds up nobody else.

import assert from "node:assert/strict";
import { figures, health, member, node } from "./cluster.mjs";
import { outcome, took, within } from "./kit.mjs";
import { Link, Nats } from "./nats.mjs";
import { joinedTo, seenAlike, until } from "./presence.mjs";

const PACE_MS = 3;
const CUTS = 5;
const KILLS = 2;
/** How many numbers of each sender go by while a link is cut, or the server away. */
const AWAY = 100;
const BURST = 200;
/** Both say so many messages of such a size at a time: half of what may wait for one connection of a client. */
const MUCH = 8;
const MUCH_BYTES = 1 << 15;
/** NATS has little patience with the slow. */
const IMPATIENT = 'write_deadline: "1s"\nmax_pending: 4MB';

/** Three nodes, each by a link of its own. */
async function cluster(configuration) {
  const bus = await Nats.start(configuration);
  const links = await Promise.all(["a", "b", "c"].map(() => Link.to(bus)));
  const nodes = await Promise.all(links.map((link, n) => node(link, "abc"[n])));
  const end = async () => {
    await Promise.all(nodes.map((at) => at.stop("SIGKILL")));
    await bus.kill();
  };
  return { bus, links, nodes, end };
}

/** Ann, ben and cat, each on a node of their own, one after the other. */
async function members(library, tab, nodes, topic) {
  const all = [];
  for (const [n, user] of ["ann", "ben", "cat"].entries()) all.push(await member(library, tab, nodes[n], user, topic));
  return all;
}

/** A client that writes down whose numbers it hears. */
class Reader {
  /** The numbers of each sender, as they came. */
  heard = {};
  #listeners = new Set();

  constructor(name, room, senders) {
    this.name = name;
    for (const from of senders) this.heard[from] = [];
    room.channel.on("new_msg", ({ from, number }) => {
      this.heard[from].push(number);
      this.#listeners.forEach((listener) => listener());
    });
  }

  /** Waits until it has heard a number of each sender that is at least this one. */
  hears(numbers) {
    const has = ([from, number]) => this.heard[from].at(-1) >= number;
    const all = new Promise((resolve) => {
      const listener = () => {
        if (!Object.entries(numbers).every(has)) return;
        this.#listeners.delete(listener);
        resolve();
      };
      this.#listeners.add(listener);
      listener();
    });
    return within(all, `${this.name} to hear ${JSON.stringify(numbers)}`);
  }

  /** How many numbers have not come, and in how many gaps of each sender. Each must have come once, and in order. */
  missing() {
    let numbers = 0;
    const gaps = {};
    for (const [from, heard] of Object.entries(this.heard)) {
      const steps = heard.map((number, n) => number - (n === 0 ? -1 : heard[n - 1]));
      const back = steps.findIndex((step) => step < 1);
      assert.equal(back, -1, `${this.name}: ${from}'s ${heard.slice(Math.max(0, back - 3), back + 1)}`);
      numbers += steps.reduce((sum, step) => sum + step - 1, 0);
      gaps[from] = steps.filter((step) => step > 1).length;
    }
    return { numbers, gaps };
  }
}

/** A client that says numbers: one when it is told to, or many at a steady pace. */
class Sender {
  next = 0;
  #pushes = [];

  constructor(name, room, filler = "") {
    this.name = name;
    this.room = room;
    this.filler = filler;
  }

  say() {
    const { name: from, next: number, filler } = this;
    const push = this.room.channel.push("new_msg", { from, number, filler });
    this.#pushes.push(outcome(push, `reply to ${this.name}'s ${this.next}`));
    this.next += 1;
  }

  begin() {
    this.timer = setInterval(() => this.say(), PACE_MS);
  }

  /** Stops, and waits until the server has taken all. */
  async end() {
    clearInterval(this.timer);
    for (const { status } of await Promise.all(this.#pushes.splice(0))) assert.equal(status, "ok");
  }
}

/** Readers on each of three nodes, and two of the first node's who send. */
class Numbers {
  static async of(library, tab, nodes, topic) {
    const numbers = new Numbers();
    const names = ["ann", "ada"];
    const join = async (at, user) => joinedTo(library, await tab(user, {}, at).connect(), topic);
    const rooms = await Promise.all(nodes.map((at, n) => Promise.all([0, 1].map((m) => join(at, `reader${n}${m}`)))));
    numbers.rooms = rooms.flat();
    numbers.users = ["reader00", "reader01", "reader10", "reader11", "reader20", "reader21"];
    numbers.readers = rooms.map((two, n) => two.map((room, m) => new Reader(`reader${n}${m}`, room, names)));
    numbers.senders = names.map((name, m) => new Sender(name, rooms[0][m]));
    return numbers;
  }

  /** Waits until the readers of these nodes have heard each sender's number so far in the future. */
  async heardBy(nodes, ahead) {
    const numbers = Object.fromEntries(this.senders.map(({ name, next }) => [name, next + ahead]));
    await Promise.all(nodes.flatMap((n) => this.readers[n].map((reader) => reader.hears(numbers))));
  }

  /** What the first reader of each node misses, and what each node tells. */
  async ledger(nodes) {
    const told = await Promise.all(nodes.map(figures));
    const missing = this.readers.map(([reader]) => reader.missing());
    return missing.map((of, n) => ({ ...of, lost: told[n].packets_lost, refused: told[n].packets_refused }));
  }
}

/** Two clients, each of a node of its own, who say much to each other and hear all of it. */
class Talk {
  static async of(library, tab, nodes, topic) {
    const talk = new Talk();
    const names = nodes.map((_, n) => `${topic}/${n}`);
    const filler = "x".repeat(MUCH_BYTES);
    talk.rooms = await Promise.all(
      nodes.map(async (at, n) => joinedTo(library, await tab(names[n], {}, at).connect(), topic)),
    );
    talk.readers = talk.rooms.map((room, n) => new Reader(names[n], room, names));
    talk.senders = talk.rooms.map((room, n) => new Sender(names[n], room, filler));
    return talk;
  }

  /** More of it. */
  async goOn() {
    for (let n = 0; n < MUCH; n += 1) this.senders.forEach((sender) => sender.say());
    await Promise.all(this.senders.map((sender) => sender.end()));
    const said = Object.fromEntries(this.senders.map(({ name, next }) => [name, next - 1]));
    await Promise.all(this.readers.map((reader) => reader.hears(said)));
    for (const reader of this.readers) assert.equal(reader.missing().numbers, 0, "nothing is missing");
  }

  /** Goes on until something has come; what that is. */
  async until(event) {
    let came;
    const coming = event.then((it) => (came = it));
    do await this.goOn();
    while (came === undefined);
    return coming;
  }
}

/** What a node misses more than before is told of: by itself as lost, or by the sender's as refused. */
function checkTold(before, after) {
  const refused = after[0].refused - before[0].refused;
  for (const [n, now] of after.entries()) {
    const lost = now.lost - before[n].lost;
    for (const [from, gaps] of Object.entries(now.gaps)) {
      const more = gaps - before[n].gaps[from];
      assert.ok(lost + refused >= more, `node ${n}: ${more} gaps of ${from}, ${lost} lost, ${refused} refused`);
    }
  }
}

export const faultCases = {
  async "faults: numbers come once at most, in order, and gaps are counted"({ library, tab }) {
    if (library.client !== "1.8") return "one client is enough";
    const { bus, links, nodes, end } = await cluster();
    const numbers = await Numbers.of(library, tab, nodes, "room:numbers");
    const everywhere = [0, 1, 2];
    await seenAlike(nodes, "room:numbers", numbers.rooms, numbers.users);
    numbers.senders.forEach((sender) => sender.begin());
    await numbers.heardBy(everywhere, 0);
    let before = await numbers.ledger(nodes);
    const round = async (fault) => {
      await fault();
      await numbers.heardBy(everywhere, 0);
      const after = await numbers.ledger(nodes);
      checkTold(before, after);
      const missed = after.map((now, n) => now.numbers - before[n].numbers);
      before = after;
      return missed;
    };

    for (let cut = 0; cut < CUTS; cut += 1) {
      links[1].opened.rest();
      const missed = await round(async () => {
        links[1].cut();
        // Some cuts last, others are over before anybody knows.
        if (cut % 2 === 0) {
          await health(nodes[1], "connecting");
          await numbers.heardBy([0, 2], AWAY);
        }
        links[1].heal();
        await links[1].opened.take();
      });
      assert.deepEqual([missed[0], missed[2]], [0, 0], "whose links are whole miss nothing");
      if (cut % 2 === 0) assert.ok(missed[1] >= AWAY, `what was said meanwhile is missing: ${missed[1]}`);
    }
    for (let kill = 0; kill < KILLS; kill += 1) {
      const missed = await round(async () => {
        await bus.kill();
        for (const at of nodes) await health(at, "connecting");
        await numbers.heardBy([0], AWAY);
        // The second time one of them comes back later than the others.
        if (kill === 1) links[1].cut();
        await bus.restart();
        await numbers.heardBy([0, 2], 0);
        links[1].heal();
      });
      assert.equal(missed[0], 0, "its own clients miss nothing");
    }

    // The faults are over: what is said now comes to everybody.
    await Promise.all(numbers.senders.map((sender) => sender.end()));
    for (const at of nodes) await health(at, "ready");
    const first = Object.fromEntries(numbers.senders.map(({ name, next }) => [name, next]));
    for (let n = 0; n < BURST; n += 1) numbers.senders.forEach((sender) => sender.say());
    await Promise.all(numbers.senders.map((sender) => sender.end()));
    await numbers.heardBy(everywhere, -1);
    const burst = Array.from({ length: BURST }, (_, n) => n);
    for (const reader of numbers.readers.flat()) {
      for (const [from, heard] of Object.entries(reader.heard)) {
        assert.deepEqual(heard.slice(-BURST), burst.map((n) => first[from] + n), `the last burst at ${reader.name}`);
      }
    }
    checkTold(before, await numbers.ledger(nodes));
    for (const [one, other] of numbers.readers) {
      other.missing();
      assert.deepEqual(one.heard, other.heard, "one node's clients hear the same");
    }
    const [a, b, c] = await numbers.ledger(nodes);
    assert.equal(a.numbers, 0, "the senders' own node misses nothing");
    assert.ok(b.numbers > 0 && b.lost > 0, JSON.stringify(b));
    console.log(`of ${2 * numbers.senders[0].next}: ${JSON.stringify({ a, b, c })}`);
    await seenAlike(nodes, "room:numbers", numbers.rooms, numbers.users);
    await end();
  },

  async "faults: a node whose link is slow holds up nobody, and catches up when it is fast"({ library, tab }) {
    if (library.client !== "1.8") return "one client is enough";
    const { bus, links, nodes, end } = await cluster(IMPATIENT);
    const [a, b, c] = nodes;
    const topic = "room:slow";
    const [ann, ben, cat] = await members(library, tab, nodes, topic);
    const talk = await Talk.of(library, tab, [a, c], "room:talk");
    await seenAlike(nodes, topic, [ann, ben, cat], ["ann", "ben", "cat"]);
    const lost = async () => (await figures(b)).packets_lost;

    // What a link holds back for a moment comes late, and all of it.
    assert.equal(await lost(), 0);
    links[1].slow(0);
    const late = Array.from({ length: 100 }, (_, n) => `late ${n}`);
    late.forEach((body) => ann.say(body));
    await cat.hears("late 99");
    assert.deepEqual(ben.heard, []);
    links[1].heal();
    await ben.hears("late 99");
    assert.deepEqual(ben.heard, late);
    assert.equal(await lost(), 0);

    // What it holds back for longer NATS drops, and the connection with it. The others notice nothing.
    const port = await links[1].opened.take();
    links[1].slow(4096);
    assert.equal(await talk.until(bus.slow.take()), port);
    const dan = await member(library, tab, c, "dan", topic);
    ann.tab.socket.disconnect();
    await seenAlike([a, c], topic, [cat, dan], ["ben", "cat", "dan"]);
    await talk.goOn();
    const healed = performance.now();
    links[1].heal();
    await seenAlike(nodes, topic, [ben, cat, dan], ["ben", "cat", "dan"]);
    await health(b, "ready");
    took("the slow link of a node fast again: one view", healed);
    cat.say("fast");
    await ben.hears("fast");
    await talk.goOn();
    await until(async () => (await lost()) > 0, "the loss to be counted");
    await end();
  },

  async "faults: a node that is stopped under load holds up nobody, and catches up"({ library, tab }) {
    if (library.client !== "1.8") return "one client is enough";
    const { bus, links, nodes, end } = await cluster(IMPATIENT);
    const [a, b, c] = nodes;
    const topic = "room:stopped";
    const [ann, ben, cat] = await members(library, tab, nodes, topic);
    const talk = await Talk.of(library, tab, [a, b], "room:talk");
    await seenAlike(nodes, topic, [ann, ben, cat], ["ann", "ben", "cat"]);
    const port = await links[2].opened.take();
    c.child.kill("SIGSTOP");
    assert.equal(await talk.until(bus.slow.take()), port);
    const dan = await member(library, tab, b, "dan", topic);
    ann.tab.socket.disconnect();
    await seenAlike([a, b], topic, [ben, dan], ["ben", "cat", "dan"]);
    await talk.goOn();
    const continued = performance.now();
    c.child.kill("SIGCONT");
    await seenAlike(nodes, topic, [ben, cat, dan], ["ben", "cat", "dan"]);
    await health(c, "ready");
    took("a node stopped under load, and cut off by NATS, continued: one view", continued);
    ben.say("go on");
    await cat.hears("go on");
    await talk.goOn();
    await until(async () => (await figures(c)).packets_lost > 0, "the loss to be counted");
    await end();
  },
};
