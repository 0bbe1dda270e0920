// What every page does: menus, questions before dangerous actions, forms that stay on their page,
// messages, copying, ages, the theme. Pages work without it; it only makes them quick.

import { refresh, start } from "./live.js";

const toasts = document.getElementById("toasts");

// Messages ---------------------------------------------------------------------------------------
function lifeOf(toast) {
  const seconds = toast.classList.contains("error") ? 12 : 5;
  setTimeout(() => toast.remove(), seconds * 1000);
}

export function tell(text, level = "info") {
  const toast = document.createElement("div");
  toast.className = `toast ${level}`;
  const words = document.createElement("span");
  words.className = "text";
  words.textContent = text;
  toast.append(words);
  toasts.append(toast);
  lifeOf(toast);
}

// Menus ------------------------------------------------------------------------------------------
function place(menu) {
  const opener = document.querySelector(`[popovertarget="${menu.id}"]`);
  if (!opener) return;
  const at = opener.getBoundingClientRect();
  const { offsetWidth: width, scrollHeight: height } = menu;
  const left = at.left + width > innerWidth - 8 ? at.right - width : at.left;
  const [below, above] = [innerHeight - at.bottom - 12, at.top - 12];
  const downwards = height <= below || below >= above;
  menu.style.maxHeight = `${downwards ? below : above}px`;
  menu.style.left = `${Math.max(8, left)}px`;
  menu.style.top = downwards ? `${at.bottom + 4}px` : `${at.top - Math.min(height, above) - 4}px`;
}

function step(menu, by) {
  const entries = [...menu.querySelectorAll("a, button")];
  const now = entries.indexOf(document.activeElement);
  entries[(now + by + entries.length) % entries.length]?.focus();
}

document.addEventListener("toggle", (event) => {
  if (event.newState === "open" && event.target.matches?.("[data-menu]")) place(event.target);
}, true);
document.addEventListener("keydown", (event) => {
  const menu = document.querySelector("[data-menu]:popover-open");
  if (!menu || !["ArrowDown", "ArrowUp"].includes(event.key)) return;
  event.preventDefault();
  step(menu, event.key === "ArrowDown" ? 1 : -1);
});
const closeMenus = () => document.querySelectorAll("[data-menu]:popover-open").forEach((menu) => menu.hidePopover());
const placeAgain = () => document.querySelectorAll("[data-menu]:popover-open").forEach(place);
addEventListener("scroll", (event) => event.target.matches?.("[data-menu]") || placeAgain(), { passive: true, capture: true });
addEventListener("resize", placeAgain);

// Questions --------------------------------------------------------------------------------------
function ask(button) {
  const dialog = document.getElementById("ask");
  const yes = document.getElementById("ask-yes");
  document.getElementById("ask-title").textContent = button.dataset.ask;
  document.getElementById("ask-sentence").textContent = button.dataset.sentence ?? "";
  const reason = document.getElementById("ask-reason");
  reason.hidden = !button.dataset.reason;
  reason.querySelector("span").textContent = button.dataset.reason ?? "";
  const input = reason.querySelector("input");
  input.value = "";
  input.type = "secret" in button.dataset ? "password" : "text";
  input.autocomplete = "secret" in button.dataset ? "new-password" : "off";
  yes.textContent = button.dataset.yes ?? "Go on";
  yes.className = `button ${"bad" in button.dataset ? "bad" : "main"}`;
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
    dialog.returnValue = "no";
    dialog.showModal();
  });
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("button");
  if (!button) return;
  if (button.closest("[data-menu]")) closeMenus();
  if (!button.dataset.ask || button.dataset.answered) return;
  event.preventDefault();
  if (!(await ask(button)) || !button.form) return;
  button.dataset.answered = "yes";
  button.form.requestSubmit(button);
  delete button.dataset.answered;
});

// Forms that stay where they are -----------------------------------------------------------------
// What is sent: read before the button is disabled, because a disabled one sends nothing.
function filledIn(form, button) {
  const body = new FormData(form, button);
  const input = document.querySelector("#ask-reason input");
  if (button?.dataset.reason) body.set("reason", input.value);
  if (input) input.value = "";
  return body;
}

async function send(form, button, body) {
  const answer = await fetch(button?.hasAttribute("formaction") ? button.formAction : form.action, {
    method: "POST",
    body,
    headers: { "X-Fragment": "1" },
  });
  if (answer.status === 401) location.reload();
  const told = await answer.json();
  if (told.go) location.assign(told.go);
  if (told.message) tell(told.message, "error");
  for (const { level, text } of told.messages ?? []) tell(text, level);
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("[data-quiet]")) return;
  event.preventDefault();
  const button = event.submitter;
  const body = filledIn(form, button);
  if (button) button.disabled = true;
  try {
    await send(form, button, body);
    form.reset();
    refresh();
  } catch {
    tell("The server did not answer; nothing is known to have changed. Try again.", "error");
  } finally {
    if (button) button.disabled = false;
  }
});

// Search and filters -----------------------------------------------------------------------------
function filter(form) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of new FormData(form)) query.set(name, value);
  query.delete("page");
  for (const [name, value] of [...query]) if (!value) query.delete(name);
  history.replaceState(null, "", `${location.pathname}?${query}`);
  refresh();
}

let typing;
document.addEventListener("input", (event) => {
  const form = event.target.form;
  if (!form?.matches("[data-search]")) return;
  clearTimeout(typing);
  typing = setTimeout(() => filter(form), 200);
});
document.addEventListener("change", (event) => {
  const box = event.target;
  if (box.form?.matches("[data-submit-on-change]")) filter(box.form);
  if (box.dataset?.tickAll) {
    document.querySelectorAll(`tbody input[name="${box.dataset.tickAll}"]`).forEach((one) => { one.checked = box.checked; });
  }
});
document.addEventListener("submit", (event) => {
  if (!event.target.matches("[data-search], [data-submit-on-change]")) return;
  event.preventDefault();
  filter(event.target);
});

// Small things -----------------------------------------------------------------------------------
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");         // without https there is no clipboard API
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest?.("[data-copy]");
  if (!button) return;
  await copy(button.dataset.copy);
  const mark = button.querySelector("use");
  const before = mark.getAttribute("href");
  mark.setAttribute("href", before.replace(/#.*/, "#check"));
  setTimeout(() => mark.setAttribute("href", before), 1200);
});

function age(seconds) {
  for (const [length, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (seconds >= length) return `${Math.floor(seconds / length)} ${unit}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

function ages() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    time.textContent = age((Date.now() - Date.parse(time.dateTime)) / 1000);
  }
}

function toggleTheme() {
  const root = document.documentElement;
  const systemIsDark = matchMedia("(prefers-color-scheme: dark)").matches;
  const wanted = (root.dataset.theme ?? (systemIsDark ? "dark" : "light")) === "dark" ? "light" : "dark";
  if ((wanted === "dark") === systemIsDark) {
    delete root.dataset.theme;                             // follow the system again
    localStorage.removeItem("theme");
  } else {
    root.dataset.theme = wanted;
    localStorage.setItem("theme", wanted);
  }
}

document.querySelector("[data-theme-toggle]")?.addEventListener("click", toggleTheme);
for (const toast of toasts?.children ?? []) lifeOf(toast);
document.querySelector(".tabs [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
setInterval(ages, 5000);
start();
