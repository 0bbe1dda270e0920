// The launch form: what the choice leaves of the quota, which flavors the image fits into, and whether hosts have room.

import { morph } from "./morph.js";

const DECIDED_BY = ["flavor", "image", "zone", "host", "forced", "count", "server_group", "same_host", "different_host"];
const AFTER_TYPING = 150;
const form = document.getElementById("launch");
const chosen = (name) => form.querySelector(`input[name="${name}"]:checked`);
const number = (element, name) => Number(element?.dataset[name] ?? 0);

function mib(amount) {
  return amount >= 1024 ? `${Math.round(amount / 102.4) / 10} GiB` : `${amount} MiB`;
}

function showQuota(row, adds) {
  const used = number(row, "used");
  const total = number(row, "total");
  const words = row.dataset.quota === "memory_mb" ? mib : String;
  const share = (amount) => (total > 0 ? `${Math.min(100, (100 * amount) / total)}%` : "0");
  row.querySelector("[data-figures]").textContent = `${words(used + adds)} of ${total < 0 ? "no limit" : words(total)}`;
  row.querySelector("[data-now]").setAttribute("width", share(used));
  row.querySelector(".more").setAttribute("width", share(used + adds));
  row.querySelector(".bar").classList.toggle("over", total >= 0 && used + adds > total);
}

function whyNot(flavor, image) {
  if (flavor.dataset.why) return flavor.dataset.why;
  if (!image) return "";
  if (number(flavor, "memory") < number(image, "memory")) return "less memory than the image needs";
  const disk = number(flavor, "disk");
  return disk && disk < number(image, "disk") ? "less disk than the image needs" : "";
}

function showFits() {
  for (const flavor of form.querySelectorAll('input[name="flavor"]')) {
    const why = whyNot(flavor, chosen("image"));
    flavor.disabled = Boolean(why);
    if (why) flavor.checked = false;
    flavor.parentElement.querySelector(".why").textContent = why;
  }
}

function show() {
  showFits();
  const flavor = chosen("flavor");
  const count = Math.max(1, Math.min(100, Number(form.elements.count.value) || 1));
  const adds = { instances: flavor ? count : 0, cores: count * number(flavor, "vcpus"), memory_mb: count * number(flavor, "memory") };
  for (const row of form.querySelectorAll("[data-quota]")) showQuota(row, adds[row.dataset.quota]);
  form.querySelector("[data-launch-label]").textContent = count > 1 ? `Launch ${count} instances` : "Launch";
}

const outlook = form.querySelector("[data-outlook]");
let shown = "";
let asking;
let later;

function wish() {
  const chosenOnes = [...new FormData(form)].filter(([name, value]) => DECIDED_BY.includes(name) && value);
  return new URLSearchParams(chosenOnes).toString();
}

async function ask(query) {
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  try {
    const answer = await fetch(`${outlook.dataset.outlook}?${query}`, { headers: { "X-Fragment": "1" }, signal });
    if (answer.status === 401) location.reload();
    if (answer.status >= 500) return;
    const fresh = outlook.cloneNode(false);
    fresh.append(...new DOMParser().parseFromString(await answer.text(), "text/html").body.childNodes);
    morph(outlook, fresh);
  } catch {
    shown = "";                                   // asked for again at the next change
  }
}

function look() {
  const query = wish();
  if (!chosen("flavor") || query === shown) return;
  shown = query;
  clearTimeout(later);
  later = setTimeout(ask, AFTER_TYPING, query);
}

form.addEventListener("input", show);
form.addEventListener("input", look);
form.addEventListener("submit", () => {
  form.querySelector("button.main").disabled = true;
});
addEventListener("pageshow", () => {
  form.querySelector("button.main").disabled = false;
  show();
  look();
});
