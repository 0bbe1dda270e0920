// How busy the processors of each host were in the last hour: a small line in each row of the list.

const NS = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [96, 24];
const EVERY = 30000;

const list = document.getElementById("hosts");

function draw(cell, points) {
  const plot = document.createElementNS(NS, "svg");
  plot.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  plot.setAttribute("preserveAspectRatio", "none");
  plot.setAttribute("class", "plot spark");
  plot.setAttribute("aria-hidden", "true");
  let path = "";
  points.forEach((value, index) => {
    if (value === null) return;
    const at = `${((index / (points.length - 1)) * WIDTH).toFixed(1)},${(1 + (1 - value / 100) * (HEIGHT - 2)).toFixed(1)}`;
    path += `${index && points[index - 1] !== null ? "L" : "M"}${at} `;
  });
  const line = document.createElementNS(NS, "path");
  line.setAttribute("class", "stroke s1");
  line.setAttribute("d", path || "M0,0");
  plot.append(line);
  const now = document.createElement("span");
  const newest = points.findLast((value) => value !== null);
  now.className = "number small";
  now.textContent = newest === undefined ? "" : `${Math.round(newest)} %`;
  cell.replaceChildren(plot, now);
}

async function load() {
  try {
    const answer = await fetch(list.dataset.load, { headers: { "X-Fragment": "1" } });
    if (!answer.ok) return;
    const { hosts } = await answer.json();
    for (const cell of list.querySelectorAll("[data-spark]")) draw(cell, hosts[cell.dataset.spark] ?? []);
  } catch {
    // The next round tries again.
  }
}

setInterval(() => document.hidden || load(), EVERY);
load();
