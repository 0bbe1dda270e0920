// The serial console of an instance, by xterm.js.

import { FitAddon } from "../vendor/xterm/addon-fit.mjs";
import { Terminal } from "../vendor/xterm/xterm.mjs";
import { keep } from "./console.js";

const screen = document.querySelector("[data-serial]");
const view = screen.querySelector(".view");

// xterm.js writes style elements; the page's policy takes them with this nonce alone.
const plainCreate = document.createElement;
document.createElement = function create(name, options) {
  const element = plainCreate.call(document, name, options);
  if (name === "style") element.nonce = screen.dataset.styleNonce;
  return element;
};

const terminal = new Terminal({
  cursorBlink: true,
  fontFamily: getComputedStyle(document.documentElement).getPropertyValue("--mono"),
  fontSize: 13,
  scrollback: 5000,
  theme: { background: "#0d1014", foreground: "#d5dae1" },
});
const fit = new FitAddon();
terminal.loadAddon(fit);
terminal.open(view);
fit.fit();
new ResizeObserver(() => fit.fit()).observe(view);

let typed = null;
keep(screen, (socket) => {
  const encoder = new TextEncoder();
  typed?.dispose();
  typed = terminal.onData((text) => {
    if (socket.readyState === WebSocket.OPEN) socket.send(encoder.encode(text));
  });
  socket.addEventListener("open", () => terminal.focus());
  socket.addEventListener("message", (event) => terminal.write(new Uint8Array(event.data)));
  return () => typed?.dispose();
});
