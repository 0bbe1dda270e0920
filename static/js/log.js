// The console log: fetched after the page is there, shown as text and nothing else.

const view = document.getElementById("log");
const follow = document.getElementById("follow");
const EVERY = 3000;
let running = false;

async function load() {
  if (running) return;
  running = true;
  try {
    const answer = await fetch(view.dataset.from, { headers: { "X-Fragment": "1" } });
    const text = await answer.text();
    const shown = answer.ok && !text ? "The guest has written nothing yet." : text;
    if (view.textContent !== shown) {
      view.textContent = shown;
      if (follow.checked) view.scrollTop = view.scrollHeight;
    }
  } catch {
    view.textContent = "The server did not answer. Try again in a moment.";
  } finally {
    running = false;
  }
}

document.getElementById("reload").addEventListener("click", load);
setInterval(() => {
  if (follow.checked && !document.hidden) load();
}, EVERY);
load();
