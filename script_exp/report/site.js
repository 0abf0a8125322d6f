"use strict";
// Plots of accuracy against a cost: the points are the rows that the tables show. Without this script the page
// has the tables, and still figures in place of the plots. After d3, Plot, boards.js and sort_and_filter.js.

const COSTS = ["tokens", "flops", "prefill"];
const UNPRUNED = "unpruned";
const [INK, OTHERS] = ["#1d1d1f", "#c4c4ca"];
const root = document.querySelector("link").getAttribute("href").replace("assets/site.css", "");
const places = [...document.querySelectorAll(".plots")];
const costList = document.querySelector("#filter select[name=cost]");

const fixed = (value) => (value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 2));

function sentence(point, units) {
  const budget = point.budget === UNPRUNED ? "" : ` at ${point.budget}`;
  const interval = point.low === null ? "" : ` [${point.low.toFixed(1)}, ${point.high.toFixed(1)}]`;
  const known = COSTS.filter((cost) => point[cost] !== null);
  const costs = known.map((cost) => `${fixed(point[cost])} ${units[cost]}`).join(", ");
  const ms = point.ms === null ? "" : ` (${point.ms.toFixed(1)} ms)`;
  const more = point.more ? "; more tokens than the budget" : "";
  return `${budget}: ${point.accuracy.toFixed(1)}${interval}; ${costs}${ms}${more}`;
}

// The points that nothing beats: none is as accurate at no higher cost. Cheapest first.
function paretoFront(points, cost) {
  const order = points
    .filter((point) => !point.skipped)
    .sort((one, other) => one[cost] - other[cost] || other.accuracy - one.accuracy);
  let best = -Infinity;
  return order.filter((point) => point.accuracy > best && ((best = point.accuracy), true));
}

// A color per budget, from dark to light, the same whatever is shown; the unpruned model is black.
function colorsOf(board) {
  const number = (budget) => parseFloat(budget) / (budget.includes("%") ? 1e6 : 1);
  const budgets = [...new Set(board.points.map((point) => point.budget))].filter((one) => one !== UNPRUNED);
  budgets.sort((one, other) => number(other) - number(one));
  const colors = new Map([[UNPRUNED, INK]]);
  budgets.forEach((budget, place) =>
    colors.set(budget, d3.interpolateViridis(budgets.length > 1 ? (0.78 * place) / (budgets.length - 1) : 0.3))
  );
  return colors;
}

function draw(board, points, cost, width, method) {
  const front = paretoFront(points, cost);
  const end = { ...front.at(-1), [cost]: d3.max(points, (point) => point[cost]) };
  const stairs = front.length === 0 ? [] : [...front, end];
  const colors = colorsOf(board);
  const color = (point) => (method === null || point.method === method ? colors.get(point.budget) : OTHERS);
  const symbol = (point) => (point.budget === UNPRUNED ? "star" : "circle");
  const at = { x: cost, y: "accuracy" };
  const near = { px: cost, py: "accuracy" };
  const ends = points.flatMap((point) => [point.low ?? point.accuracy, point.high ?? point.accuracy]);
  const corner = { frameAnchor: "bottom-right", textAnchor: "end", dx: -6, dy: -8 };
  const svg = Plot.plot({
    width,
    height: Math.round(Math.max(300, Math.min(430, width * 0.72))),
    marginLeft: 42,
    marginBottom: 40,
    style: { fontFamily: "inherit", fontSize: "12px", background: "none" },
    x: {
      label: `${board.axes[cost]} →`,
      grid: true,
      inset: 8,
      ...(cost === "tokens"
        ? { type: "log", ticks: tokenTicks(points), tickFormat: "d" }
        : { nice: true, ticks: Math.min(8, width / 70), tickFormat: ".4~g" }),
    },
    y: { label: `↑ ${board.axes.accuracy}`, grid: true, nice: true, domain: d3.extent(ends) },
    marks: [
      Plot.line(stairs, { ...at, curve: "step-after", stroke: "#a3a3ab", strokeWidth: 2 }),
      Plot.dot(d3.sort(points, (point) => point.method === method), {
        ...at,
        symbol,
        r: (point) => (point.budget === UNPRUNED ? 6 : 4),
        stroke: color,
        fill: (point) => (point.more ? "white" : color(point)),
        strokeWidth: 1.5,
        sort: null,
      }),
      Plot.ruleX(points, Plot.pointer({ x: cost, y1: "low", y2: "high", ...near, stroke: INK, strokeWidth: 2 })),
      Plot.dot(points, Plot.pointer({ ...at, symbol, r: 6, stroke: INK, fill: color, strokeWidth: 1.5 })),
      Plot.text(
        points,
        Plot.pointer({
          ...near,
          ...corner,
          text: (point) => `${point.label} ${point.accuracy.toFixed(1)}`,
          fontWeight: 600,
          fill: INK,
          stroke: "white",
          strokeWidth: 4,
        })
      ),
    ],
  });
  return { svg, front };
}

// The numbers of tokens that most methods have at a budget, without those that would be printed over each other.
function tokenTicks(points) {
  const within = points.filter((point) => !point.more);
  const usualOf = (own) => d3.mode(own, (point) => Math.round(point.tokens));
  const usual = d3.rollups(within, usualOf, (point) => point.budget);
  const ticks = [];
  for (const tokens of d3.sort(new Set(usual.map(([, tokens]) => tokens))))
    if (ticks.length === 0 || tokens / ticks.at(-1) > 1.3) ticks.push(tokens);
  return ticks.length > 0 ? ticks : undefined;
}

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function legend(board, points, method) {
  const list = element("ul", { class: "legend" });
  const add = (words, color, fill) => {
    const dot = Plot.dot([0], { x: 6, y: 6, r: 4, stroke: color, fill, strokeWidth: 1.5 });
    const scale = { type: "identity" };
    const svg = Plot.plot({ width: 12, height: 12, margin: 0, axis: null, x: scale, y: scale, marks: [dot] });
    svg.setAttribute("aria-hidden", "true");
    list.append(element("li", {}, svg, ` ${words}`));
  };
  const own = points.filter((point) => method === null || point.method === method);
  for (const [budget, color] of colorsOf(board))
    if (own.some((point) => point.budget === budget)) add(budget, color, color);
  if (method !== null) add("other methods", OTHERS, OTHERS);
  if (points.some((point) => point.more)) add("more tokens than the budget", "#56565c", "white");
  list.append(element("li", {}, "gray line: Pareto front"));
  return list;
}

// A plot that the mouse, a finger and the arrow keys can read: a line below says the point, with its interval.
function figureOf(board, points, cost, width, method, title) {
  const { svg, front } = draw(board, points, cost, width, method);
  const hint = "Point at a mark, or use the arrow keys, for its numbers and interval.";
  const said = element("p", { class: "said", "aria-live": "polite" }, hint);
  const what = `Accuracy against ${board.axes[cost]}${title}`;
  const name = `${board.title}. ${what}. Arrow keys go from point to point, Enter opens the method's page.`;
  const keys = element("div", { class: "keys", tabindex: "0", role: "group", "aria-label": name }, svg);
  const order = d3.sort(points, (point) => point[cost], (point) => point.accuracy);
  let at = -1;
  const say = (point) => {
    at = order.indexOf(point);
    said.replaceChildren(element("a", { href: root + point.page }, point.label), sentence(point, board.units));
  };
  svg.addEventListener("input", () => svg.value && say(svg.value));
  keys.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && at >= 0) said.querySelector("a").click();
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    at = at < 0 ? 0 : (at + step + order.length) % order.length;
    const point = order[at];
    const box = svg.getBoundingClientRect();
    const place = (axis, value) => (svg.scale(axis).apply(value) * box.width) / width;
    const clientX = box.left + place("x", point[cost]);
    const clientY = box.top + place("y", point.accuracy);
    svg.dispatchEvent(new PointerEvent("pointermove", { clientX, clientY, pointerType: "mouse" }));
    say(point); // of two in one place, the pointer finds only one
  });
  const best = front.map((point) => (point.budget === UNPRUNED ? point.label : `${point.label} ${point.budget}`));
  const listed = element("p", { class: "note front" }, `Pareto front, cheapest first: ${best.join(", ")}.`);
  return element("figure", {}, element("figcaption", {}, what), legend(board, points, method), keys, said, listed);
}

// The points of a board whose rows are shown; on the page of a method all of them.
function shownPoints(place, board) {
  if (place.dataset.method !== undefined) return board.points;
  const rows = allRows(place.closest("section").querySelector("table"));
  const first = Math.min(...rows.map((row) => printedOrder.get(row)));
  return rows.filter((row) => !row.hidden).map((row) => board.points[printedOrder.get(row) - first]);
}

function drawAll() {
  for (const place of places) {
    const board = BOARDS[place.dataset.board];
    const method = place.dataset.method ?? null;
    const points = shownPoints(place, board);
    place.replaceChildren();
    if (place.closest("section").hidden) continue;
    const costs = costList === null ? COSTS : [costList.value];
    const whole = place.parentElement.clientWidth;
    const columns = costList === null ? Math.max(1, Math.floor(whole / 540)) : 1;
    const width = Math.min(880, whole / columns - (columns > 1 ? 20 : 0));
    for (const cost of costs) {
      const known = points.filter((point) => point[cost] !== null);
      for (const [device, own] of d3.groups(known, (point) => (cost === "prefill" ? point.device : ""))) {
        if (method !== null && !own.some((point) => point.method === method)) continue;
        const title = device === "" ? "" : ` (on ${device})`;
        place.append(figureOf(board, own, cost, width, method, title));
      }
    }
  }
}

document.getElementById("filter").addEventListener("input", drawAll);
let drawnAt = 0;
addEventListener("resize", () => {
  if (innerWidth !== drawnAt) drawAll();
  drawnAt = innerWidth;
});
drawnAt = innerWidth;
drawAll();
