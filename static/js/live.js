// Keeps the page true: the server says which object changed, the page fetches itself again and
// replaces what differs inside its live regions (elements with data-live and an id).

import { morph } from "./morph.js";

const FIRST_WAIT = 500;
const LONGEST_WAIT = 15000;
const BETWEEN_REFRESHES = 150;
// Close codes of portal/dashboard/live.py: the session has ended, or its role is gone.
const NO_LONGER_ALLOWED = 4403;

const indicator = document.querySelector("[data-live-state]");
let wait = FIRST_WAIT;
let running = false;
let again = false;
let stale = false;
let failures = 0;
let later;

function show(state, words) {
  if (!indicator) return;
  indicator.dataset.state = state;
  indicator.querySelector(".words").textContent = words;
}

const regions = () => [...document.querySelectorAll("[data-live][id]")];

function concerns(region, kind, id) {
  if (kind === "*") return true;
  return region.dataset.live.split(" ").some((interest) => interest === kind || interest === `${kind}:${id}`);
}

async function fetchPage() {
  const answer = await fetch(location.href, { headers: { "X-Fragment": "1" } });
  if (answer.status === 401) location.reload();
  if (answer.status === 404) {
    const gone = regions().find((region) => region.dataset.gone);
    if (gone) location.assign(gone.dataset.gone);
  }
  if (answer.status >= 500) throw new Error(answer.statusText);
  if (!answer.ok) return null;
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

export async function refresh() {
  if (document.hidden) {
    stale = true;
    return;
  }
  if (running) {
    again = true;
    return;
  }
  running = true;
  clearTimeout(later);
  try {
    const fresh = await fetchPage();
    for (const region of fresh ? regions() : []) {
      const wanted = fresh.getElementById(region.id);
      if (wanted) morph(region, wanted);
    }
    failures = 0;
  } catch {
    failures += 1;                               // the server does not answer: the page is not true until it does
    later = setTimeout(refresh, Math.min(FIRST_WAIT * 2 ** (failures - 1), LONGEST_WAIT));
  } finally {
    running = false;
    if (again) {
      again = false;
      setTimeout(refresh, BETWEEN_REFRESHES);
    }
  }
}

function received(event) {
  const { changes } = JSON.parse(event.data);
  document.dispatchEvent(new CustomEvent("changes", { detail: changes }));
  if (regions().some((region) => changes.some(([kind, id]) => concerns(region, kind, id)))) refresh();
}

function connect() {
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${document.body.dataset.livePath}`);
  socket.addEventListener("open", () => {
    wait = FIRST_WAIT;
    show("on", "Live");
    if (regions().length) refresh();            // what changed since the page was made
  });
  socket.addEventListener("message", received);
  socket.addEventListener("close", (event) => {
    if (event.code === NO_LONGER_ALLOWED) {
      location.reload();
      return;
    }
    show("off", "Reconnecting");
    setTimeout(connect, wait * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, LONGEST_WAIT);
  });
}

export function start() {
  if (!document.body.dataset.livePath) return;
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && stale) {
      stale = false;
      refresh();
    }
  });
  connect();
}
