// The real program as a child process: started on a free port, or again on the same one; ended by a signal.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const running = new Set();
process.on("exit", () => running.forEach((child) => child.kill("SIGKILL")));

export class Server {
  /** Starts `fanfare serve` with `options`, and is there once it listens. */
  static async start({ port = 0, options = ["--admin"] } = {}) {
    const program = process.env.FANFARE_BIN;
    if (!program) throw new Error("FANFARE_BIN must name the program");
    // The program takes options from such variables: what the caller has set must not reach it.
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("FANFARE_")));
    const child = spawn(program, ["serve", "--listen", `127.0.0.1:${port}`, "--workers", "2", ...options], {
      env,
      stdio: ["ignore", "pipe", "inherit"],
    });
    running.add(child);
    const server = new Server();
    server.child = child;
    server.ended = new Promise((resolve) => {
      child.once("error", (error) => resolve({ error }));
      child.once("exit", (code, signal) => resolve({ code, signal }));
    }).finally(() => running.delete(child));
    server.port = await Promise.race([
      listeningPort(child.stdout),
      server.ended.then((end) => {
        throw new Error(`${program} ended before it listened: ${end.error ?? JSON.stringify(end)}`);
      }),
    ]);
    return server;
  }

  url(path, scheme = "http") {
    return `${scheme}://127.0.0.1:${this.port}${path}`;
  }

  /** Sends `signal` and returns how the program ended. */
  async stop(signal = "SIGTERM") {
    this.child.kill(signal);
    return this.ended;
  }

  /** Asks the program to act as an application would through `Endpoint`. */
  async admin(action, body) {
    const headers = { "content-type": "application/json" };
    const answer = await fetch(this.url(`/admin/${action}`), { method: "POST", headers, body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(`/admin/${action}: ${answer.status} ${await answer.text()}`);
    return answer.json();
  }
}

/** Reads up to the line that names the port; what follows is read and thrown away, so that the pipe never fills. */
function listeningPort(stdout) {
  return new Promise((resolve) => {
    createInterface({ input: stdout }).on("line", (line) => {
      const match = /^listening on http:\/\/127\.0\.0\.1:(\d+)$/.exec(line);
      if (match) resolve(Number(match[1]));
    });
  });
}
