// The chat page. Each room is the channel `room:NAME` and a tab; the address's hash names the room in front.
// It runs on the `phoenix` package when the server has it among its assets, on our own client otherwise.
//
// What tests read: `html[data-client]`, `#status[data-status]`, `[role=tab][data-room][data-state]`, and for each
// message `#messages > li[data-message]` with `data-user`, `data-room`, `data-mine` and the text in `[data-body]`; for
// each who is online `#online li[data-key]` with `data-tabs` and `data-mood`.

const MESSAGES_MAX = 500;
const PHOENIX = "/assets/phoenix.mjs";

const $ = (id) => document.getElementById(id);
const rooms = new Map(); // name -> { channel, state, tab, frame, unread, messages: [li], draft }
let current;
let received = 0;
let isSignedOut = false;

/** What this browser remembers; without storage it lasts as long as the page. */
const memory = {
  values: new Map(),
  read(key) {
    try {
      return localStorage.getItem(key) ?? this.values.get(key);
    } catch {
      return this.values.get(key);
    }
  },
  write(key, value) {
    this.values.set(key, value);
    try {
      localStorage.setItem(key, value);
    } catch {
      // Storage may be full or forbidden: `values` has it.
    }
  },
};

const userId = memory.read("fanfare.user_id") ?? crypto.getRandomValues(new Uint32Array(2)).join("");
memory.write("fanfare.user_id", userId);
$("name").value = memory.read("fanfare.name") ?? `guest ${userId.slice(0, 4)}`;
const userName = () => $("name").value.trim() || "anonymous";
$("mood").value = memory.read("fanfare.mood") ?? "online";
/** What this user says of itself, for others to see. */
const said = () => ({ name: userName(), status: $("mood").value });

async function loadClient() {
  const answer = await fetch(PHOENIX, { method: "HEAD" }).catch(() => null);
  const name = answer?.ok ? "phoenix" : "fanfare";
  const client = await import(answer?.ok ? PHOENIX : "/fanfare.mjs");
  document.documentElement.dataset.client = name;
  return client;
}

function element(name, attributes = {}, ...children) {
  const node = Object.assign(document.createElement(name), attributes);
  node.append(...children);
  return node;
}

function notice(text) {
  $("notice").textContent = text;
}

function showStatus(status, text = status) {
  $("status").dataset.status = status;
  $("status").textContent = text;
  showSendable();
}

function showSendable() {
  $("send").disabled = rooms.get(current)?.state !== "joined" || $("status").dataset.status !== "open";
}

/** The room that the hash names; the lobby without one. */
function roomOfHash() {
  try {
    return decodeURIComponent(location.hash.slice(1)).trim() || "lobby";
  } catch {
    return "lobby";
  }
}

function goTo(name) {
  show(name);
  location.hash = encodeURIComponent(name);
}

function setState(room, state) {
  room.state = state;
  room.tab.dataset.state = state;
  room.tab.title = state === "joined" ? "" : state;
  showSendable();
}

function openRoom(name) {
  const tab = element("button", { type: "button", role: "tab", textContent: name, onclick: () => goTo(name) });
  tab.setAttribute("aria-controls", "panel");
  tab.dataset.room = name;
  tab.onkeydown = (event) => moveAmongTabs(name, event);
  const close = element("button", { type: "button", textContent: "\u00d7", onclick: () => closeRoom(name) });
  close.setAttribute("aria-label", `Leave ${name}`);
  const frame = element("span", { className: "tab", role: "presentation" }, tab, close);
  const channel = socket.channel(`room:${name}`, said);
  const room = { channel, tab, frame, unread: 0, messages: [], draft: "" };
  rooms.set(name, room);
  $("rooms").append(frame);
  setState(room, "joining");
  room.channel.on("new_msg", (message) => addMessage(name, room, message));
  room.presence = new Presence(channel);
  room.presence.onSync(() => {
    if (name === current) showOnline(room);
  });
  room.channel.on("presence_truncated", ({ keys, next }) => {
    Object.assign(room, { online: keys, next });
    if (name === current) showOnline(room);
  });
  room.channel.onError(() => setState(room, "rejoining"));
  room.channel
    .join()
    .receive("ok", () => setState(room, "joined"))
    .receive("error", ({ reason }) => {
      setState(room, "refused");
      notice(`${name}: ${reason ?? "the room cannot be joined"}`);
    })
    .receive("timeout", () => setState(room, "rejoining"));
  return room;
}

function closeRoom(name) {
  const room = rooms.get(name);
  room.channel.leave();
  room.frame.remove();
  rooms.delete(name);
  if (name !== current) return;
  current = undefined;
  goTo([...rooms.keys()].at(-1) ?? "lobby");
}

function moveAmongTabs(name, event) {
  const names = [...rooms.keys()];
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (event.key === "Delete") return closeRoom(name);
  if (!step) return;
  event.preventDefault();
  goTo(names[(names.indexOf(name) + step + names.length) % names.length]);
  rooms.get(current)?.tab.focus();
}

function show(name) {
  const room = rooms.get(name) ?? openRoom(name);
  const left = rooms.get(current);
  if (left) left.draft = $("body").value;
  if (left !== room) $("body").value = room.draft;
  current = name;
  room.unread = 0;
  for (const other of rooms.values()) {
    other.tab.setAttribute("aria-selected", String(other === room));
    other.tab.tabIndex = other === room ? 0 : -1;
    other.tab.dataset.unread = other.unread;
  }
  document.title = `${name} · fanfare chat`;
  $("panel").setAttribute("aria-label", `Room ${name}`);
  $("messages").replaceChildren(...room.messages);
  $("empty").hidden = room.messages.length > 0;
  $("panel").scrollTop = $("panel").scrollHeight;
  showOnline(room);
  showSendable();
}

/** Who is in the room: this user first, then by name; how many tabs each has, and how the last one says it is. */
function showOnline(room) {
  const people = room.presence.list((key, { metas }) => {
    const { name, status } = metas.at(-1);
    return { key, name: String(name ?? key), mood: String(status ?? "online"), tabs: metas.length };
  });
  people.sort((a, b) => (b.key === userId) - (a.key === userId) || a.name.localeCompare(b.name));
  const items = people.map(({ key, name, mood, tabs }) => {
    const item = element("li", {}, element("b", { textContent: key === userId ? `${name} (you)` : name }));
    if (tabs > 1) item.append(element("span", { textContent: `${tabs} tabs` }));
    if (mood !== "online") item.append(element("span", { textContent: mood }));
    Object.assign(item.dataset, { key, name, tabs, mood });
    return item;
  });
  $("online").hidden = items.length === 0;
  const all = Math.max(room.online ?? 0, people.length);
  $("online-title").textContent = `Online: ${all}`;
  $("online").querySelector("ul").replaceChildren(...items);
  $("more").hidden = !(room.next > 0);
}

/** Tells each room who this is now, and how. */
function tellMood() {
  memory.write("fanfare.name", userName());
  memory.write("fanfare.mood", $("mood").value);
  for (const { channel } of rooms.values()) channel.push("status", said());
}

function addMessage(name, room, { body, user, user_id }) {
  const author = String(user ?? "anonymous");
  const now = new Date();
  const clock = now.toLocaleTimeString([], { timeStyle: "short" });
  const time = element("time", { dateTime: now.toISOString(), textContent: clock });
  const text = element("p", { textContent: String(body ?? "") });
  text.dataset.body = "";
  const meta = element("div", { className: "meta" }, element("b", { textContent: author }), time);
  const item = element("li", {}, meta, text);
  Object.assign(item.dataset, { message: ++received, user: author, room: name });
  if (user_id === userId) item.dataset.mine = "";
  room.messages.push(item);
  while (room.messages.length > MESSAGES_MAX) room.messages.shift().remove();
  if (name !== current) {
    room.tab.dataset.unread = ++room.unread;
    return;
  }
  const panel = $("panel");
  const isAtEnd = panel.scrollHeight - panel.scrollTop - panel.clientHeight < 60;
  $("messages").append(item);
  $("empty").hidden = true;
  if (isAtEnd) panel.scrollTop = panel.scrollHeight;
}

function send(event) {
  event.preventDefault();
  const room = rooms.get(current);
  const body = $("body").value.trim();
  if (!body || $("send").disabled) return;
  const failed = (why) => {
    notice(`Not sent: ${why}`);
    if (room === rooms.get(current) && !$("body").value) $("body").value = body;
  };
  room.channel
    .push("new_msg", { body, user: userName(), user_id: userId })
    .receive("ok", () => notice(""))
    .receive("error", ({ reason }) => failed(reason ?? "the room refused it"))
    .receive("timeout", () => failed("the server did not answer"));
  $("body").value = "";
}

/** Whoever may speak to this user alone can end the visit in every tab. */
function joinOwnChannel() {
  const own = socket.channel(`users_socket:${userId}`, {});
  own.on("force_logout", () => {
    isSignedOut = true;
    socket.disconnect();
    showStatus("closed", "signed out");
    notice("You were signed out. Reload the page to come back.");
  });
  own.join();
}

const { Presence, Socket } = await loadClient();
const socket = new Socket("/socket", { params: { user_id: userId } });
socket.onOpen(() => {
  showStatus("open", "connected");
  notice("");
});
socket.onClose(() => {
  if (!isSignedOut) showStatus("connecting", "connection lost, trying again");
});
$("composer").addEventListener("submit", send);
$("name").addEventListener("change", tellMood);
$("mood").addEventListener("change", tellMood);
$("more").addEventListener("click", () => {
  const room = rooms.get(current);
  room.channel.push("presence_more", { next: room.next });
});
$("open").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("room").value.trim();
  $("room").value = "";
  if (name) goTo(name);
});
addEventListener("hashchange", () => {
  if (roomOfHash() !== current) show(roomOfHash());
});
socket.connect();
joinOwnChannel();
show(roomOfHash());
