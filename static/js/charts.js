// The load of a host over time: four charts, drawn as SVG, new every few seconds.

const NS = "http://www.w3.org/2000/svg";
const HEIGHT = 150;
const BOTTOM = 20;
const LEFT = 54;
const EVERY = 10000;

const section = document.getElementById("load");
let range = section.querySelector("[data-range][aria-pressed=true]").dataset.range;
let data = null;

function make(name, attributes, text) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function words(value, unit) {
  if (unit === "MiB" && value >= 1024) return words(value / 1024, "GiB");
  return `${Number(value.toFixed(1))}${unit && ` ${unit}`}`;
}

function clock(seconds) {
  const at = new Date(seconds * 1000);
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  return range === "7d" ? `${at.toLocaleDateString([], { weekday: "short" })} ${time}` : time;
}

// The top of the axis: the whole of what the host has, or the next round number above the highest.
function ceiling(name, values) {
  if (name === "cpu") return 100;
  if (name === "memory") return data.memory_mb || 1;
  if (name === "disk" && data.disk_gb) return data.disk_gb;
  const highest = Math.max(1, ...values);
  const step = 10 ** Math.floor(Math.log10(highest));
  return Math.max(4, Math.ceil(highest / step) * step);
}

// Where points are further apart than three slices the line breaks: nobody was measuring.
function runs(points) {
  const found = [];
  for (const point of points) {
    const last = found.at(-1)?.at(-1);
    if (last && point.at - last.at <= 3 * data.slice) found.at(-1).push(point);
    else found.push([point]);
  }
  return found;
}

function axes(plot, name, unit, top, width, x, y) {
  for (const share of [0, 0.5, 1]) {
    const at = y(top * share);
    plot.append(make("line", { class: "gridline", x1: LEFT, x2: width, y1: at, y2: at }));
    plot.append(make("text", { x: LEFT - 6, y: at + 4, "text-anchor": "end" }, words(top * share, unit).replace(" ", "\u2009")));
  }
  const ticks = Math.max(2, Math.min(5, Math.floor(width / 110)));
  for (let index = 0; index < ticks; index += 1) {
    const at = data.from + ((data.to - data.from) * index) / (ticks - 1);
    const anchor = index === 0 ? "start" : index === ticks - 1 ? "end" : "middle";
    plot.append(make("text", { x: x(at), y: HEIGHT - 4, "text-anchor": anchor }, clock(at)));
  }
}

function draw(figure) {
  const { chart: name, unit, series } = figure.dataset;
  const points = data.at.map((at, index) => ({ at, value: data[name][index] }));
  const top = ceiling(name, data[name]);
  const width = Math.max(200, figure.clientWidth - 32);
  const x = (at) => LEFT + ((at - data.from) / (data.to - data.from)) * (width - LEFT);
  const y = (value) => 8 + (1 - Math.min(value, top) / top) * (HEIGHT - BOTTOM - 8);
  const plot = make("svg", { class: "plot", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": `${name} over ${range}` });
  axes(plot, name, unit, top, width, x, y);
  for (const run of runs(points)) {
    const line = run.map((point) => `${x(point.at).toFixed(1)},${y(point.value).toFixed(1)}`).join(" L");
    plot.append(make("path", { class: `area ${series}`, d: `M${x(run[0].at)},${y(0)} L${line} L${x(run.at(-1).at)},${y(0)} Z` }));
    plot.append(make("path", { class: `stroke ${series}`, d: run.length > 1 ? `M${line}` : `M${line} h2` }));
  }
  if (!points.length) plot.append(make("text", { x: (width + LEFT) / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "No samples yet"));
  figure.querySelector("svg")?.remove();
  figure.append(plot);
  figure.querySelector(".now").textContent = points.length ? words(points.at(-1).value, unit) : "";
  hover(figure, plot, points, { x, y, unit, series, width });
}

function hover(figure, plot, points, { x, y, unit, series, width }) {
  const cursor = make("line", { class: "cursor", y1: 8, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  const dot = make("circle", { class: `point ${series}`, r: 3, visibility: "hidden" });
  plot.append(cursor, dot);
  const now = figure.querySelector(".now");
  const latest = now.textContent;
  const show = (visible) => [cursor, dot].forEach((one) => one.setAttribute("visibility", visible ? "visible" : "hidden"));
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const wanted = ((event.clientX - box.left) / box.width) * width;
    const nearest = points.reduce((best, point) => (!best || Math.abs(x(point.at) - wanted) < Math.abs(x(best.at) - wanted) ? point : best), null);
    if (!nearest) return;
    cursor.setAttribute("x1", x(nearest.at));
    cursor.setAttribute("x2", x(nearest.at));
    dot.setAttribute("cx", x(nearest.at));
    dot.setAttribute("cy", y(nearest.value));
    show(true);
    now.textContent = `${clock(nearest.at)}  ${words(nearest.value, unit)}`;
  });
  plot.addEventListener("pointerleave", () => {
    show(false);
    now.textContent = latest;
  });
}

const drawAll = () => data && section.querySelectorAll("[data-chart]").forEach(draw);

async function load() {
  try {
    const answer = await fetch(`${section.dataset.from}?range=${range}`, { headers: { "X-Fragment": "1" } });
    if (!answer.ok) return;
    data = await answer.json();
    if (!section.querySelector(".plot:hover")) drawAll();
  } catch {
    // The next round tries again.
  }
}

section.addEventListener("click", (event) => {
  const button = event.target.closest("[data-range]");
  if (!button) return;
  range = button.dataset.range;
  for (const one of section.querySelectorAll("[data-range]")) one.setAttribute("aria-pressed", String(one === button));
  load();
});
document.addEventListener("changes", ({ detail }) => {
  if (range === "1h" && detail.some(([kind, id]) => kind === "host" && id === section.dataset.host)) load();
});
new ResizeObserver(drawAll).observe(section);
setInterval(() => document.hidden || load(), EVERY);
load();
