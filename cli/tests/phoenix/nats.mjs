// The real NATS server as a child process, and links to it that a case owns: it cuts them, stops them and slows them.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Log, within } from "./kit.mjs";

// Where Debian puts it, which is on the path of an administrator alone.
const PROGRAM = existsSync("/usr/sbin/nats-server") ? "/usr/sbin/nats-server" : "nats-server";
/** How much passes a slow link at a time. */
const PIECE_BYTES = 512;
const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

/** A `nats-server`, with more lines for its configuration: on a port that it chooses, and again on the same one. */
export class Nats {
  /** The ports of those whom it has cut off for being slow. */
  slow = new Log("slow consumer");
  port = -1;
  #configuration;
  #child;

  static async start(configuration = "") {
    const nats = new Nats();
    nats.#configuration = configuration;
    await nats.restart();
    return nats;
  }

  async restart() {
    const folder = mkdtempSync(join(tmpdir(), "fanfare-nats-"));
    const file = join(folder, "nats.conf");
    writeFileSync(file, `listen: "127.0.0.1:${this.port}"\n${this.#configuration}\n`);
    const child = spawn(PROGRAM, ["-c", file], { stdio: ["ignore", "ignore", "pipe"] });
    running.add(child);
    this.#child = child;
    const listening = new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", () => reject(new Error("nats-server has ended")));
      createInterface({ input: child.stderr }).on("line", (line) => {
        const port = /client connections on 127\.0\.0\.1:(\d+)/.exec(line);
        if (port) resolve(Number(port[1]));
        const slow = /127\.0\.0\.1:(\d+) - .*Slow Consumer/.exec(line);
        if (slow) this.slow.add(Number(slow[1]));
      });
    });
    this.port = await within(listening, "nats-server to listen").finally(() => rmSync(folder, { recursive: true }));
  }

  /** Ends it at once: all of its connections break. */
  kill() {
    const child = this.#child;
    running.delete(child);
    return new Promise((resolve) => {
      child.once("exit", resolve);
      child.kill("SIGKILL");
    });
  }
}

/** A node's way to NATS. What NATS sends passes as fast as the case says; what the node sends is never held up. */
export class Link {
  /** Connections that it has made, by the ports that NATS sees. */
  opened = new Log("connection over the link");
  #isCut = false;
  #bytesPerSecond = Infinity;
  /** Called when it is fast again. */
  #waiting = new Set();
  #ends = new Set();

  static async to(nats) {
    const link = new Link();
    const server = createServer((node) => link.#join(node, nats.port));
    server.unref();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    link.port = server.address().port;
    return link;
  }

  /** Breaks what is connected, and all that is tried from now on. */
  cut() {
    this.#isCut = true;
    this.#ends.forEach((end) => end.destroy());
  }

  /** No more than so much passes; with 0 nothing does. */
  slow(bytesPerSecond) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /** It is whole and fast. */
  heal() {
    this.#isCut = false;
    this.#bytesPerSecond = Infinity;
    this.#waiting.forEach((release) => release());
  }

  #join(node, port) {
    if (this.#isCut) return node.destroy();
    const nats = connect({ port, host: "127.0.0.1", noDelay: true });
    nats.once("connect", () => this.opened.add(nats.localPort));
    node.setNoDelay(true);
    for (const [end, other] of [
      [node, nats],
      [nats, node],
    ]) {
      this.#ends.add(end);
      // It breaks when it is cut, and when one of both is killed.
      end.on("error", () => {});
      end.on("close", () => {
        this.#ends.delete(end);
        other.destroy();
      });
    }
    node.pipe(nats);
    // An end that breaks meanwhile takes the other along.
    this.#carry(nats, node).catch(() => {});
  }

  async #carry(nats, node) {
    for await (const chunk of nats) {
      let begin = 0;
      while (begin < chunk.length) {
        const isFast = this.#bytesPerSecond === Infinity;
        const piece = chunk.subarray(begin, isFast ? chunk.length : begin + PIECE_BYTES);
        if (!isFast) await this.#slowly(piece.length);
        begin += piece.length;
        if (!node.write(piece)) await once(node, "drain");
      }
    }
  }

  /** Waits as long as a slow link takes for so much, or until it is fast again. */
  #slowly(bytes) {
    return new Promise((resolve) => {
      const release = () => {
        this.#waiting.delete(release);
        resolve();
      };
      this.#waiting.add(release);
      if (this.#bytesPerSecond > 0) setTimeout(release, (1000 * bytes) / this.#bytesPerSecond);
    });
  }
}
