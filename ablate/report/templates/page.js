"use strict";
// Tables of three rows and more are sorted by a click on a column's head; those of ten and more have a filter.
// Without this script the page shows the same tables as they are.
const NUMBER = /^[^\d]{0,3}?([+-]?\d[\d,]*\.?\d*(?:e[+-]?\d+)?)/i;

function value(row, column) {
  const cell = row.querySelector(`[data-column="${column}"]`);
  return cell ? cell.textContent.trim() : "";
}

function number(text) {
  const match = NUMBER.exec(text.replace(/\u2212/g, "-").replace(/^±/, ""));
  return match ? Number(match[1].replace(/,/g, "")) : NaN;
}

function place(row) {
  let column = 0;
  for (const cell of row.cells) {
    cell.dataset.column = String(column);
    column += cell.colSpan;
  }
}

function leaves(head) {
  // [cell, column] of the heads that stand directly above a column, for one or two rows of heads.
  const taken = [];
  const found = [];
  for (const [line, row] of [...head.rows].entries()) {
    let column = 0;
    for (const cell of row.cells) {
      while (taken[line] && taken[line][column]) column += 1;
      if (line + cell.rowSpan === head.rows.length && cell.colSpan === 1) found.push([cell, column]);
      for (let down = line; down < line + cell.rowSpan; down += 1) {
        taken[down] = taken[down] || [];
        for (let right = 0; right < cell.colSpan; right += 1) taken[down][column + right] = true;
      }
      column += cell.colSpan;
    }
  }
  return found;
}

function sort(table, column, descending) {
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const texts = new Map(rows.map((row) => [row, value(row, column)]));
  const filled = [...texts.values()].filter((text) => text && text !== "–");
  const numeric = filled.length > 0 && filled.every((text) => !Number.isNaN(number(text)));
  const empty = (text) => !text || text === "–" || (numeric && Number.isNaN(number(text)));
  rows.sort((one, other) => {
    const [a, b] = [texts.get(one), texts.get(other)];
    if (empty(a) || empty(b)) return Number(empty(a)) - Number(empty(b));
    const order = numeric ? number(a) - number(b) : a.localeCompare(b);
    return descending ? -order : order;
  });
  body.append(...rows);
}

function sortable(table) {
  const heads = leaves(table.tHead);
  for (const row of table.tBodies[0].rows) place(row);
  for (const [cell, column] of heads) {
    if (!cell.textContent.trim()) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...cell.childNodes);
    button.addEventListener("click", () => {
      const descending = cell.getAttribute("aria-sort") !== "descending";
      for (const [other] of heads) other.removeAttribute("aria-sort");
      cell.setAttribute("aria-sort", descending ? "descending" : "ascending");
      sort(table, column, descending);
    });
    cell.append(button);
  }
}

function filtered(table) {
  const field = document.createElement("input");
  field.type = "search";
  field.placeholder = "Filter rows";
  field.setAttribute("aria-label", "Filter the rows of this table");
  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    for (const row of table.tBodies[0].rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
  table.closest(".scroll").before(field);
}

for (const table of document.querySelectorAll(".scroll > table")) {
  const rows = table.tHead && table.tBodies.length ? table.tBodies[0].rows.length : 0;
  if (rows >= 3) sortable(table);
  if (rows >= 10) filtered(table);
}
