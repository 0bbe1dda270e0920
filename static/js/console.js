// What both consoles share: where to connect, what to say, full screen, reconnecting.

// A browser is not told why a handshake failed; the token's page tells it.
async function reason(page) {
  try {
    const { pathname, search } = new URL(page);
    const answer = await fetch(pathname + search, { headers: { "X-Fragment": "1" } });
    return (await answer.json()).refusal ?? "";
  } catch {
    return "The server does not answer.";
  }
}

async function freshUrl(screen) {
  if (screen.dataset.url) return { url: screen.dataset.url, page: location.href };
  const token = document.querySelector("#do input[name=csrfmiddlewaretoken]").value;
  try {
    const answer = await fetch(screen.dataset.urlFrom, { method: "POST", headers: { "X-Fragment": "1", "X-CSRFToken": token } });
    if (answer.status === 401) location.reload();
    return await answer.json();
  } catch {
    return { message: "The server does not answer." };
  }
}

// `open(socket)` shows a connected socket and returns what ends it; the sentences are ours.
export function keep(screen, open) {
  const words = screen.querySelector(".say");
  const state = document.querySelector("[data-console-state]");
  let current = null;

  function say(sentence) {
    words.textContent = sentence;
    words.hidden = !sentence;
    state.textContent = sentence ? "" : "Connected";
  }

  async function ended(socket, event, opened, page) {
    if (current?.socket !== socket) return;
    current.end();
    current = null;
    const why = event.reason || (opened ? "" : await reason(page));
    say(why || (opened ? "The connection was closed." : "The console could not be opened: its host refused, or the console proxy cannot be reached."));
  }

  async function connect() {
    current?.end();
    current?.socket.close();
    current = null;
    say("Connecting…");
    const { url, page, message } = await freshUrl(screen);
    if (!url) return say(message ?? "The console could not be opened.");
    const socket = new WebSocket(url);
    let opened = false;
    socket.binaryType = "arraybuffer";
    socket.addEventListener("open", () => {
      opened = true;
      say("");
    });
    current = { socket, end: open(socket) };
    socket.addEventListener("close", (event) => ended(socket, event, opened, page));
  }

  document.querySelector("[data-reconnect]").addEventListener("click", connect);
  document.querySelector("[data-full]").addEventListener("click", () => screen.requestFullscreen());
  connect();
}
