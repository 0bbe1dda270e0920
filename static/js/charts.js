// The load of a host or an instance over time: charts drawn as SVG, new every few seconds, and the same as a table.

const NS = "http://www.w3.org/2000/svg";
const HEIGHT = 150;
const BOTTOM = 20;
const LEFT = 64;
const QUICK = 10000;                                    // how often a chart of an hour is drawn anew
const SLOW = 60000;
const ROWS = 24;                                        // of the table

const section = document.getElementById("load");
const table = section.querySelector(".as-table");
let range = section.querySelector("[data-range][aria-pressed=true]").dataset.range;
let data = null;
let later;

function make(name, attributes, text) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function words(value, unit) {
  if (value === null) return "not known";
  if (unit === "MiB" && value >= 1024) return words(value / 1024, "GiB");
  if (unit === "B/s" && value >= 1024) {
    const size = Math.min(3, Math.floor(Math.log2(value) / 10));
    return `${Number((value / 1024 ** size).toFixed(1))} ${["B", "KiB", "MiB", "GiB"][size]}/s`;
  }
  return `${Number(value.toFixed(1))}${unit && ` ${unit}`}`;
}

function clock(seconds, exact = false) {
  const at = new Date(seconds * 1000);
  const time = at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  if (range === "7d") return `${at.toLocaleDateString([], { weekday: "short" })} ${time}`;
  if (range !== "30d") return time;
  const day = at.toLocaleDateString([], { day: "numeric", month: "short" });
  return exact ? `${day} ${time}` : day;
}

// The top of the axis: the whole of what there is, or the next round number above the highest.
function ceiling(columns, unit) {
  const highest = Math.max(1, ...columns.flatMap((column) => data[column].filter((value) => value !== null)));
  const whole = data.tops[columns[0]];
  if (whole) return Math.max(whole, unit === "%" ? 0 : highest);
  if (!unit) return 2 * Math.ceil(highest / 2);         // things are whole, also half-way up
  const base = unit === "B/s" ? 2 : 10;
  const step = base ** Math.floor(Math.log(highest) / Math.log(base));
  return Math.max(4, Math.ceil(highest / step) * step);
}

function pointsOf(column) {
  return data.at.map((at, index) => ({ at, value: data[column][index] })).filter(({ value }) => value !== null);
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

function axes(plot, unit, top, width, x, y) {
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

// What a chart shows, in a sentence.
function told(title, lines, unit) {
  const sentences = lines.map(({ points, name }) => {
    if (!points.length) return `${name || title}: nothing measured`;
    const values = points.map(({ value }) => value);
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    const figures = [["now", values.at(-1)], ["on average", mean], ["at most", Math.max(...values)]];
    return `${name || title}: ${figures.map(([when, value]) => `${when} ${words(value, unit)}`).join(", ")}`;
  });
  return `${title} over ${range}. ${sentences.join("; ")}.`;
}

function show(figure, lines, unit, at) {
  for (const { value: element, name, points } of lines) {
    const point = at === undefined ? points.at(-1) : points.find((one) => one.at === at);
    element.textContent = point ? `${name ? `${name} ` : ""}${words(point.value, unit)}` : "";
  }
  figure.querySelector(".top-line").dataset.at = at === undefined ? "" : clock(at, true);
}

function draw(figure) {
  const { title, unit, hue } = figure.dataset;
  const lines = [...figure.querySelectorAll("[data-line]")].map((value, index) => {
    const kind = `s${1 + ((Number(hue) + index) % 4)}`;
    value.className = `value ${kind}`;
    return { value, kind, column: value.dataset.line, name: value.dataset.name, points: pointsOf(value.dataset.line) };
  });
  const top = ceiling(lines.map(({ column }) => column), unit);
  const width = Math.max(200, figure.clientWidth - 32);
  const x = (at) => LEFT + ((at - data.from) / (data.to - data.from)) * (width - LEFT);
  const y = (value) => 8 + (1 - Math.min(value, top) / top) * (HEIGHT - BOTTOM - 8);
  const plot = make("svg", { class: "plot", viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": told(title, lines, unit) });
  axes(plot, unit, top, width, x, y);
  for (const { kind, points } of lines) {
    for (const run of runs(points)) {
      const line = run.map((point) => `${x(point.at).toFixed(1)},${y(point.value).toFixed(1)}`).join(" L");
      if (lines.length === 1) plot.append(make("path", { class: `area ${kind}`, d: `M${x(run[0].at)},${y(0)} L${line} L${x(run.at(-1).at)},${y(0)} Z` }));
      plot.append(make("path", { class: `stroke ${kind}`, d: run.length > 1 ? `M${line}` : `M${line} h2` }));
    }
  }
  if (!lines.some(({ points }) => points.length)) plot.append(make("text", { x: (width + LEFT) / 2, y: HEIGHT / 2, "text-anchor": "middle" }, "Nothing measured"));
  figure.querySelector("svg")?.remove();
  figure.append(plot);
  show(figure, lines, unit);
  hover(figure, plot, lines, unit, { x, y, width });
}

function hover(figure, plot, lines, unit, { x, y, width }) {
  const cursor = make("line", { class: "cursor", y1: 8, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  const dots = lines.map(({ kind }) => make("circle", { class: `point ${kind}`, r: 3, visibility: "hidden" }));
  plot.append(cursor, ...dots);
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const wanted = ((event.clientX - box.left) / box.width) * width;
    const at = data.at.reduce((best, one) => (best === null || Math.abs(x(one) - wanted) < Math.abs(x(best) - wanted) ? one : best), null);
    if (at === null) return;
    cursor.setAttribute("x1", x(at));
    cursor.setAttribute("x2", x(at));
    cursor.setAttribute("visibility", "visible");
    lines.forEach(({ points }, index) => {
      const point = points.find((one) => one.at === at);
      dots[index].setAttribute("visibility", point ? "visible" : "hidden");
      if (!point) return;
      dots[index].setAttribute("cx", x(at));
      dots[index].setAttribute("cy", y(point.value));
    });
    show(figure, lines, unit, at);
  });
  plot.addEventListener("pointerleave", () => {
    [cursor, ...dots].forEach((one) => one.setAttribute("visibility", "hidden"));
    show(figure, lines, unit);
  });
}

// The same figures for those who read rather than look: some moments, evenly spread, the newest last.
function tabulate() {
  const columns = [...section.querySelectorAll(".chart")].flatMap((figure) =>
    [...figure.querySelectorAll("[data-line]")].map((value) => ({
      column: value.dataset.line, unit: figure.dataset.unit, title: `${figure.dataset.title}${value.dataset.name && `, ${value.dataset.name}`}`,
    })));
  const every = Math.max(1, Math.ceil(data.at.length / ROWS));
  const shown = data.at.map((_, index) => index).filter((index) => (data.at.length - 1 - index) % every === 0);
  const made = document.createElement("table");
  made.className = "table";
  const head = made.createTHead().insertRow();
  for (const title of ["Time", ...columns.map((one) => one.title)]) {
    const cell = document.createElement("th");
    cell.scope = "col";
    cell.textContent = title;
    head.append(cell);
  }
  const body = made.createTBody();
  for (const index of shown) {
    const row = body.insertRow();
    for (const text of [clock(data.at[index], true), ...columns.map(({ column, unit }) => words(data[column][index], unit))]) {
      const cell = row.insertCell();
      cell.className = "number nowrap";
      cell.textContent = text;
    }
  }
  table.querySelector(".scroll").replaceChildren(made);
}

function drawAll() {
  if (!data) return;
  section.querySelectorAll(".chart").forEach(draw);
  if (table.open) tabulate();
}

async function load() {
  clearTimeout(later);
  const asked = range;
  try {
    const answer = await fetch(`${section.dataset.from}?range=${asked}`, { headers: { "X-Fragment": "1" } });
    if (answer.ok && asked === range) {
      data = await answer.json();
      if (!section.querySelector(".plot:hover")) drawAll();
    }
  } catch {
    // The next round tries again.
  }
  clearTimeout(later);
  later = setTimeout(() => !document.hidden && load(), range === "1h" ? QUICK : SLOW);
}

section.addEventListener("click", (event) => {
  const button = event.target.closest("[data-range]");
  if (!button) return;
  range = button.dataset.range;
  for (const one of section.querySelectorAll("[data-range]")) one.setAttribute("aria-pressed", String(one === button));
  load();
});
table.addEventListener("toggle", () => table.open && data && tabulate());
document.addEventListener("visibilitychange", () => document.hidden || load());
new ResizeObserver(drawAll).observe(section);
load();
