"use strict";
// A click on a column's head sorts the rows of each group; words filter the rows of all tables. A list of
// choices in the form filters the groups that say what they are of its kind, in a data attribute of its name.
// Without this script the page is the same, with plain tables.

const HOLE = "–";
const NUMBER = /^([<+−-]*)(\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)(?=$|[\s,†%×])/;

const tables = [...document.querySelectorAll("table:not(.plain)")];
const isText = (cell) => cell.classList.contains("text");
const rowsIn = (body) => [...body.rows].filter((row) => !row.classList.contains("heading"));
const allRows = (table) => [...table.tBodies].flatMap(rowsIn);
const printedOrder = new Map(tables.flatMap(allRows).map((row, place) => [row, place]));

// The text of an entry, without the interval or share in small type.
function said(cell) {
  const large = [...cell.childNodes].filter((node) => node.nodeName !== "SMALL");
  const text = large.map((node) => node.textContent).join("").trim() || cell.textContent.trim();
  return text === HOLE ? "" : text;
}

// The number at the start of a text: the lower end of an interval; "<0.001" counts as just below 0.001.
function number(text) {
  const found = NUMBER.exec(text);
  if (!found) return NaN;
  const size = Number(found[2].replaceAll(",", ""));
  return /[−-]/.test(found[1]) ? -size : found[1].includes("<") ? size * (1 - 1e-9) : size;
}

// The values to sort a column by: numbers if all entries are numbers, else texts; null is a hole.
function valuesOf(rows, column) {
  const texts = rows.map((row) => said(row.cells[column]));
  const numeric = texts.every((text) => text === "" || !Number.isNaN(number(text)));
  const values = texts.map((text) => (text === "" ? null : numeric ? number(text) : text));
  return { numeric, values: new Map(rows.map((row, place) => [row, values[place]])) };
}

function compare(one, other, sign) {
  if (one === null || other === null) return (one === null) - (other === null); // holes last both ways
  return sign * (typeof one === "number" ? one - other : one.localeCompare(other, "en", { numeric: true }));
}

function sort(table, column) {
  const head = table.tHead.rows[0].cells[column];
  const { numeric, values } = valuesOf(allRows(table), column);
  const [first, second] = numeric ? ["descending", "ascending"] : ["ascending", "descending"];
  const next = { none: first, [first]: second, [second]: "none" }[head.ariaSort];
  for (const other of table.tHead.rows[0].cells) other.ariaSort = "none";
  head.ariaSort = next;
  const sign = next === "ascending" ? 1 : -1;
  for (const body of table.tBodies) {
    const rows = rowsIn(body).sort(
      (one, other) =>
        (next === "none" ? 0 : compare(values.get(one), values.get(other), sign)) ||
        printedOrder.get(one) - printedOrder.get(other)
    );
    body.append(...rows);
  }
}

for (const table of tables) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sort(table, column));
    head.append(button);
    head.ariaSort = "none";
  });
}

// The text that words are searched in: the table's title, the heads of its number columns, the group's
// heading and the row's own texts. A benchmark that is a column therefore keeps the whole table.
function searched() {
  const texts = new Map();
  for (const table of tables) {
    const heads = [...table.tHead.rows[0].cells].filter((head) => !isText(head));
    const around = [table.closest("section").querySelector("h3"), ...heads].map((one) => one.textContent);
    for (const body of table.tBodies) {
      const heading = body.querySelector(".heading")?.textContent ?? "";
      for (const row of rowsIn(body)) {
        const own = [...row.cells].filter(isText).map((cell) => cell.textContent);
        texts.set(row, [...around, heading, ...own].join(" ").toLowerCase());
      }
    }
  }
  return texts;
}

// A number has to match as a whole: 16 is neither in 160 nor in 88.16.
function matcher(word) {
  if (!/^\d+(\.\d+)?$/.test(word)) return (text) => text.includes(word);
  const whole = new RegExp(`(?<![\\w.])${word.replace(".", "\\.")}(?![\\w]|\\.\\d)`);
  return (text) => whole.test(text);
}

const lists = [...document.querySelectorAll("#filter select")];
const isChosen = (body) =>
  lists.every(({ name, value }) => value === "" || !(name in body.dataset) || body.dataset[name] === value);

let texts = null; // built at the first word: there may be thousands of rows

function filter() {
  texts ??= searched();
  const matchers = document.getElementById("words").value.toLowerCase().split(/\s+/).filter(Boolean).map(matcher);
  let shown = 0;
  for (const table of tables) {
    let inTable = 0;
    for (const body of table.tBodies) {
      let inBody = 0;
      const chosen = isChosen(body);
      for (const row of rowsIn(body)) {
        row.hidden = !chosen || !matchers.every((match) => match(texts.get(row)));
        inBody += !row.hidden;
      }
      body.hidden = inBody === 0;
      inTable += inBody;
    }
    table.closest("section").hidden = inTable === 0 && allRows(table).length > 0;
    shown += inTable;
  }
  say(shown);
}

function say(shown) {
  document.getElementById("count").value = `${shown} of ${printedOrder.size} rows`;
}

const form = document.getElementById("filter");
form.addEventListener("input", filter);
form.addEventListener("submit", (event) => event.preventDefault());
form.hidden = false;
say(printedOrder.size);
