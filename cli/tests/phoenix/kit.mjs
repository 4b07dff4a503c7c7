// What the cases are written with: tabs, channels whose events are logged, and waits that name what is missing.

import assert from "node:assert/strict";
import WebSocket from "ws";

const WAIT_MS_MAX = 20_000;

/** `promise`, or an error that names `what` did not come. The clock is a guard; no case passes because time passes. */
export function within(promise, what, ms = WAIT_MS_MAX) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no ${what} within ${ms / 1000} s`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** How long each case of convergence took, in ms, as `took` was told. */
export const times = [];

/** Notes how long something took that began then, by the clock of `performance`. */
export function took(what, since) {
  const ms = performance.now() - since;
  times.push([what, ms]);
  console.log(`converged in ${(ms / 1000).toFixed(2)} s: ${what}`);
}

/** Events in the order in which they came: `take` awaits the next, `none` asserts that no other has come so far. */
export class Log {
  #items = [];
  #waiting = [];
  constructor(what) {
    this.what = what;
  }
  add(item) {
    const waiting = this.#waiting.shift();
    if (waiting) waiting(item);
    else this.#items.push(item);
  }
  take(ms = WAIT_MS_MAX) {
    if (this.#items.length > 0) return Promise.resolve(this.#items.shift());
    return within(new Promise((resolve) => this.#waiting.push(resolve)), this.what, ms);
  }
  /** All that have come and were not taken. */
  rest() {
    return this.#items.splice(0);
  }
  none() {
    assert.deepEqual(this.#items, [], `unexpected ${this.what}`);
  }
}

/** One connection of a user, as a browser tab would have it. */
export class Tab {
  constructor(library, server, userId, options = {}) {
    this.opened = new Log(`connection of ${userId}`);
    this.closed = new Log(`close of ${userId}'s connection`);
    this.frames = new Log(`frame to ${userId}`);
    const frames = this.frames;
    const uses = (connection) => (this.lose = () => connection.terminate());
    class Transport extends WebSocket {
      constructor(...given) {
        super(...given);
        uses(this);
        this.addEventListener("message", ({ data }) => frames.add(data));
      }
    }
    this.socket = new library.Socket(server.url("/socket", "ws"), {
      params: { user_id: userId },
      transport: Transport,
      timeout: WAIT_MS_MAX,
      reconnectAfterMs: () => 20,
      rejoinAfterMs: () => 20,
      ...options,
    });
    this.socket.onOpen(() => this.opened.add(true));
    this.socket.onClose((event) => this.closed.add(event));
  }

  async connect() {
    this.socket.connect();
    await this.opened.take();
    return this;
  }

  /** A channel whose joins, errors, closes and `events` are logged; joining is under way. */
  channel(topic, events = ["new_msg"]) {
    const channel = this.socket.channel(topic, {});
    const room = new Room(this, channel, events);
    room.push = (event, payload) => outcome(channel.push(event, payload), `reply to ${event} on ${topic}`);
    return room;
  }

  /** The same, joined. */
  async join(topic, events) {
    const room = this.channel(topic, events);
    assert.deepEqual(await room.joined.take(), { status: "ok", response: {} });
    return room;
  }
}

class Room {
  constructor(tab, channel, events) {
    const topic = channel.topic;
    this.channel = channel;
    this.joined = new Log(`answer to the join of ${topic}`);
    this.errors = new Log(`error of ${topic}`);
    this.closed = new Log(`close of ${topic}`);
    this.on = {};
    for (const event of events) {
      const log = (this.on[event] = new Log(`${event} on ${topic}`));
      channel.on(event, (payload) => log.add(payload));
    }
    channel.on("phx_error", (reason) => this.errors.add(reason ?? null));
    channel.on("phx_close", () => this.closed.add(true));
    const join = channel.join();
    for (const status of ["ok", "error", "timeout"]) {
      join.receive(status, (response) => this.joined.add({ status, response }));
    }
  }

  /** Sends `payload` to all members, this one included, and sees both the reply and the message. */
  async say(payload) {
    assert.deepEqual(await this.push("new_msg", payload), { status: "ok", response: {} });
    assert.deepEqual(await this.on.new_msg.take(), payload);
  }

  leave() {
    return outcome(this.channel.leave(), `reply to the leave of ${this.channel.topic}`);
  }
}

/** What a push comes to. */
export function outcome(push, what) {
  const ended = new Promise((resolve) => {
    for (const status of ["ok", "error", "timeout"]) push.receive(status, (response) => resolve({ status, response }));
  });
  return within(ended, what);
}
