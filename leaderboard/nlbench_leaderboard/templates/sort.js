"use strict";
// Without this script the tables are complete and in order of rank; it only adds sorting.
for (const table of document.querySelectorAll("table.results")) {
  const heads = [...table.querySelectorAll("th[data-sort]")];
  for (const head of heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const now = head.getAttribute("aria-sort");
      const first = head.dataset.sort === "up" ? "ascending" : "descending";
      const other = first === "ascending" ? "descending" : "ascending";
      const next = now === first ? other : first;
      for (const h of heads) h.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", next);
      sortRows(table, head.cellIndex, next === "ascending" ? 1 : -1);
    });
  }
  if (heads[0]) heads[0].setAttribute("aria-sort", "ascending");
}

// Only ranked rows move: bounds keep their place above and below, unfinished rows stay last.
function sortRows(table, column, sign) {
  const rows = [...table.querySelectorAll("tbody.ranked")];
  const mark = document.createComment("");
  if (rows.length) rows[0].before(mark);
  const value = (row) => row.rows[0].cells[column].dataset.v;
  rows.sort((a, b) => {
    const [x, y] = [value(a), value(b)];
    if (x === "" || y === "") return (x === "") - (y === "");
    const [m, n] = [Number(x), Number(y)];
    return sign * (Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y) : m - n);
  });
  mark.before(...rows);
  mark.remove();
}
