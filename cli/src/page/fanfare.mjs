// A small client for channels: protocol 2.0.0 with binary payloads, heartbeats, reconnects and rejoins with backoff.
// Its classes have the shape of those of the `phoenix` package, as far as they go.
// I1. A reply reaches the push whose ref it carries, once; a push that is not answered in time gets "timeout".
// I2. A message whose join_ref is not that of the channel's current join is dropped: it belongs to an earlier life.
// I3. What is pushed before the join succeeds waits for it; what times out meanwhile is not sent any more.
// I4. A close with code 1000, or by disconnect(), is final; after any other the socket comes back and channels rejoin.

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const backoff = (delays, then) => (tries) => delays[tries - 1] ?? then;
const callable = (value) => (typeof value === "function" ? value : () => value);

/** A push as text, or as a binary frame when its payload is an ArrayBuffer. */
export function encode(joinRef, ref, topic, event, payload) {
  if (!(payload instanceof ArrayBuffer)) return JSON.stringify([joinRef, ref, topic, event, payload]);
  const fields = [joinRef ?? "", ref ?? "", topic, event].map((field) => encoder.encode(field));
  const long = fields.findIndex((field) => field.length > 255);
  if (long >= 0) throw new RangeError(`${["join_ref", "ref", "topic", "event"][long]} has more than 255 bytes`);
  const parts = [[0, ...fields.map((field) => field.length)], ...fields, new Uint8Array(payload)];
  const frame = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  parts.reduce((at, part) => (frame.set(part, at), at + part.length), 0);
  return frame.buffer;
}

/** A frame of the server as {joinRef, ref, topic, event, payload}. */
export function decode(data) {
  if (typeof data === "string") {
    const [joinRef, ref, topic, event, payload] = JSON.parse(data);
    return { joinRef, ref, topic, event, payload };
  }
  const bytes = new Uint8Array(data);
  const names = [["joinRef", "topic", "event"], ["joinRef", "ref", "topic", "status"], ["topic", "event"]][bytes[0]];
  if (!names) throw new TypeError(`a binary frame of kind ${bytes[0]}`);
  const message = { joinRef: null, ref: null };
  let at = 1 + names.length;
  for (const [i, name] of names.entries()) {
    message[name] = decoder.decode(bytes.subarray(at, (at += bytes[1 + i]))) || null;
  }
  message.payload = data.slice(at);
  if (bytes[0] !== 1) return message;
  return { ...message, event: "phx_reply", payload: { status: message.status, response: message.payload } };
}
/** Waits longer after each failure; `reset` forgets the failures and the wait under way. */
function retry(action, delay) {
  let tries = 0, timer;
  return {
    schedule() { clearTimeout(timer); timer = setTimeout(action, delay(++tries)); },
    reset() { clearTimeout(timer); tries = 0; },
  };
}

class Push {
  #hooks = [];
  #timer;
  #outcome;
  constructor(channel, event, payload, timeout) {
    Object.assign(this, { channel, event, payload: callable(payload), timeout });
  }
  /** Calls `callback` with the response once the reply has `status`: "ok", "error", "timeout", or one of the server. */
  receive(status, callback) {
    if (this.#outcome?.status === status) callback(this.#outcome.response);
    this.#hooks.push({ status, callback });
    return this;
  }
  begin() {
    this.cancel();
    this.#outcome = undefined;
    this.ref = this.channel.socket.makeRef();
    this.#timer = setTimeout(() => this.settle("timeout", {}), this.timeout);
    return this;
  }
  /** Ends the attempt under way; a second end of it is ignored. */
  settle(status, response) {
    if (this.#outcome) return;
    this.cancel();
    this.#outcome = { status, response };
    for (const hook of this.#hooks) if (hook.status === status) hook.callback(response);
  }
  cancel() {
    clearTimeout(this.#timer);
    this.channel.forget(this);
  }
}

export class Channel {
  #bindings = [];
  #waiting = new Map();
  #buffer = [];
  #join;
  #rejoin;
  constructor(topic, params, socket) {
    Object.assign(this, { topic, socket, state: "closed", joinedOnce: false });
    this.#rejoin = retry(() => this.sendJoin(), socket.rejoinAfterMs);
    this.#join = new Push(this, "phx_join", params, socket.timeout)
      .receive("ok", () => {
        this.state = "joined";
        this.#rejoin.reset();
        for (const push of this.#buffer.splice(0)) this.#send(push);
      })
      .receive("error", () => this.#failed())
      .receive("timeout", () => {
        socket.send(this.#join.ref, socket.makeRef(), this.topic, "phx_leave", {});
        this.#failed();
      });
  }
  join(timeout = this.#join.timeout) {
    if (this.joinedOnce) throw new Error("a channel can be joined once; make another one");
    Object.assign(this, { joinedOnce: true, state: "joining" });
    this.#join.timeout = timeout;
    this.sendJoin();
    return this.#join;
  }
  sendJoin() {
    if (!this.socket.isConnected()) return;
    this.state = "joining";
    this.#send(this.#join.begin());
  }
  push(event, payload = {}, timeout = this.socket.timeout) {
    if (!this.joinedOnce) throw new Error(`push of "${event}" to "${this.topic}" before join`);
    const push = new Push(this, event, payload, timeout).begin();
    if (this.state === "joined") this.#send(push);
    else this.#buffer.push(push);
    return push;
  }
  leave(timeout = this.socket.timeout) {
    const known = this.socket.isConnected() && ["joined", "joining"].includes(this.state);
    this.#rest("leaving");
    const end = () => this.#trigger("phx_close", "leave");
    const push = new Push(this, "phx_leave", {}, timeout).begin().receive("ok", end).receive("timeout", end);
    if (known) this.#send(push);
    else queueMicrotask(() => push.settle("ok", {}));
    return push;
  }
  on(event, callback) { this.#bindings.push({ event, callback }); }
  joinRef() { return this.#join.ref; }
  onError(callback) { this.on("phx_error", callback); }
  take({ joinRef, ref, event, payload }) {
    if (joinRef && joinRef !== this.#join.ref) return;
    if (event === "phx_reply") return this.#waiting.get(ref)?.settle(payload.status, payload.response);
    // A broadcast names no channel: what comes before the answer to the join is of an earlier one.
    if (!joinRef && ["joining", "errored"].includes(this.state)) return;
    this.#trigger(event, payload);
  }
  /** The connection has come ("open") or gone ("close"). */
  connection(change) {
    if (change === "close") this.#trigger("phx_error", {});
    this.#rejoin.reset();
    if (change === "open" && ["errored", "joining"].includes(this.state)) this.sendJoin();
  }
  forget(push) {
    this.#waiting.delete(push.ref);
    this.#buffer = this.#buffer.filter((other) => other !== push);
  }
  #trigger(event, payload) {
    if (event === "phx_close") {
      this.#rest("closed");
      this.socket.remove(this);
    } else if (event === "phx_error") {
      if (!["joined", "joining"].includes(this.state)) return;
      this.#join.cancel();
      this.#failed();
    }
    for (const binding of [...this.#bindings]) if (binding.event === event) binding.callback(payload);
  }
  #rest(state) {
    this.state = state;
    this.#rejoin.reset();
    this.#join.cancel();
  }
  #failed() {
    this.state = "errored";
    if (this.socket.isConnected()) this.#rejoin.schedule();
  }
  #send(push) {
    this.#waiting.set(push.ref, push);
    this.socket.send(this.#join.ref, push.ref, this.topic, push.event, push.payload());
  }
}

export class Socket {
  #channels = [];
  #hooks = { open: [], close: [], error: [] };
  #lastRef = 0;
  #connection = null;
  #heartbeat = {};
  #retry;
  /** Options: params, timeout, heartbeatIntervalMs, reconnectAfterMs, rejoinAfterMs, transport. */
  constructor(endPoint, options = {}) {
    this.url = new URL(`${endPoint}/websocket`, globalThis.location?.href);
    this.url.protocol = this.url.protocol.replace("http", "ws");
    this.timeout = options.timeout ?? 10_000;
    this.heartbeatIntervalMs = options.heartbeatIntervalMs ?? 30_000;
    this.rejoinAfterMs = options.rejoinAfterMs ?? backoff([1000, 2000, 5000], 10_000);
    Object.assign(this, { params: callable(options.params ?? {}), transport: options.transport ?? WebSocket });
    const delay = options.reconnectAfterMs ?? backoff([10, 50, 100, 150, 200, 250, 500, 1000, 2000], 5000);
    this.#retry = retry(() => this.connect(), delay);
  }
  connect() {
    if (this.#connection) return;
    const url = new URL(this.url);
    for (const [name, value] of Object.entries({ ...this.params(), vsn: "2.0.0" })) url.searchParams.set(name, value);
    this.#connection = new this.transport(url.href);
    this.#connection.binaryType = "arraybuffer";
    this.#connection.onopen = () => this.#opened();
    this.#connection.onmessage = ({ data }) => this.#take(decode(data));
    this.#connection.onerror = (error) => this.#tell("error", error);
    this.#connection.onclose = (event) => this.#closed(event);
  }
  disconnect(callback, code = 1000, reason = "") {
    this.#drop(code, reason);
    this.#retry.reset();
    callback?.();
  }
  isConnected() { return this.#connection?.readyState === 1; }
  channel(topic, params = {}) {
    const channel = new Channel(topic, params, this);
    this.#channels.push(channel);
    return channel;
  }
  onOpen(callback) { this.#hooks.open.push(callback); }
  onClose(callback) { this.#hooks.close.push(callback); }
  onError(callback) { this.#hooks.error.push(callback); }
  makeRef() { return String(++this.#lastRef); }
  remove(channel) { this.#channels = this.#channels.filter((other) => other !== channel); }
  send(...frame) { if (this.isConnected()) this.#connection.send(encode(...frame)); }
  #opened() {
    this.#retry.reset();
    this.#heartbeat = { timer: setInterval(() => this.#beat(), this.heartbeatIntervalMs), ref: null };
    this.#tell("open");
  }
  #beat() {
    if (this.#heartbeat.ref) return this.#drop(4000, "heartbeat timeout");
    this.#heartbeat.ref = this.makeRef();
    this.send(null, this.#heartbeat.ref, "phoenix", "heartbeat", {});
  }
  #take(message) {
    if (message.ref && message.ref === this.#heartbeat.ref) this.#heartbeat.ref = null;
    for (const channel of this.#channels.filter((at) => at.topic === message.topic)) channel.take(message);
  }
  // Does not wait for the other side, which may be gone.
  #drop(code, reason) {
    const connection = this.#connection;
    if (!connection) return;
    connection.onopen = connection.onmessage = connection.onerror = connection.onclose = () => {};
    connection.close(code, reason);
    this.#closed({ code, reason });
  }
  #closed(event) {
    clearInterval(this.#heartbeat.timer);
    this.#connection = null;
    if (event.code !== 1000) this.#retry.schedule();
    this.#tell("close", event);
  }
  #tell(what, event) {
    for (const callback of this.#hooks[what]) callback(event);
    if (what !== "error") for (const channel of [...this.#channels]) channel.connection(what);
  }
}

/** Who is present on a channel's topic: the state that the server pushes after each join, and the diffs since. */
export class Presence {
  #channel;
  #joinRef;
  #held = [];
  #caller = { onJoin() {}, onLeave() {}, onSync() {} };
  state = Object.create(null);
  constructor(channel, { events = { state: "presence_state", diff: "presence_diff" } } = {}) {
    this.#channel = channel;
    channel.on(events.state, (state) => {
      this.#joinRef = channel.joinRef();
      this.#sync(state);
      for (const diff of this.#held.splice(0)) this.#apply(diff);
      this.#caller.onSync();
    });
    channel.on(events.diff, (diff) => {
      if (this.inPendingSyncState()) return this.#held.push(diff);
      this.#apply(diff);
      this.#caller.onSync();
    });
  }
  onJoin(callback) { this.#caller.onJoin = callback; }
  onLeave(callback) { this.#caller.onLeave = callback; }
  onSync(callback) { this.#caller.onSync = callback; }
  list(by = (key, presence) => presence) {
    return Object.entries(this.state).map(([key, presence]) => by(key, presence));
  }
  /** After each join until its state has come: diffs wait for that. */
  inPendingSyncState() { return !this.#joinRef || this.#joinRef !== this.#channel.joinRef(); }
  /** A state takes the place of what was known; what differs is told. */
  #sync(state) {
    const [joins, leaves] = [Object.create(null), Object.create(null)];
    const without = (metas, others) => {
      const refs = new Set(others.map((meta) => meta.phx_ref));
      return metas.filter((meta) => !refs.has(meta.phx_ref));
    };
    for (const [key, known] of Object.entries(this.state)) {
      const left = without(known.metas, state[key]?.metas ?? []);
      if (left.length > 0) leaves[key] = { ...known, metas: left };
    }
    for (const [key, now] of Object.entries(state)) {
      const joined = without(now.metas, this.state[key]?.metas ?? []);
      if (joined.length > 0) joins[key] = { ...now, metas: joined };
    }
    this.#apply({ joins, leaves });
  }
  #apply({ joins, leaves }) {
    for (const [key, joined] of Object.entries(joins)) {
      const known = this.state[key];
      const refs = new Set(joined.metas.map((meta) => meta.phx_ref));
      const kept = known ? known.metas.filter((meta) => !refs.has(meta.phx_ref)) : [];
      this.state[key] = { ...joined, metas: [...kept, ...joined.metas] };
      this.#caller.onJoin(key, known, joined);
    }
    for (const [key, left] of Object.entries(leaves)) {
      const known = this.state[key];
      if (!known) continue;
      const refs = new Set(left.metas.map((meta) => meta.phx_ref));
      const rest = { ...known, metas: known.metas.filter((meta) => !refs.has(meta.phx_ref)) };
      if (rest.metas.length > 0) this.state[key] = rest;
      else delete this.state[key];
      this.#caller.onLeave(key, rest, left);
    }
  }
}
