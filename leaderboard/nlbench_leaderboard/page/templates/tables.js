"use strict";
// Without this script the tables are complete and in order of rank; it only sorts and filters.
// The address keeps the filter of all boards and the sorting of one: #BOARD?q=clip&knows=only-noisy-labels&sort=selection_f1.down
const MOST_ROWS = 100; // of a longer table; laying out 500 rows after each key stroke takes too long
const boards = new Map();
const filter = readFilter();
for (const section of document.querySelectorAll("section.board")) {
  const board = readBoard(section);
  boards.set(board.id, board);
  addSorting(board);
  board.all.addEventListener("click", () => { showAll(board); filter.q.focus(); });
}
showBoards();
addEventListener("hashchange", fromAddress);
fromAddress();
if (matchMedia("(max-width: 48rem)").matches) {
  document.querySelector(".toc details")?.removeAttribute("open");
}

function readFilter() {
  const controls = document.querySelector(".controls");
  if (!controls) return null; // a page without boards
  const [q, knows, reset] = ["q", "knows", "reset"].map((name) => controls.querySelector(`[data-filter=${name}]`));
  const changed = () => { showBoards(); toAddress(); };
  q.addEventListener("input", changed);
  knows.addEventListener("change", changed);
  reset.addEventListener("click", () => { clear(); toAddress(); q.focus(); });
  controls.hidden = false;
  return { q, knows, reset, output: controls.querySelector("output") };
}

function readBoard(section) {
  const table = section.querySelector("table.results");
  const rows = new Map([...table.tBodies].map((body) => [body, {
    name: body.rows[0].cells[1].dataset.v.toLowerCase(),
    knows: body.dataset.knows.split(" ").filter(Boolean),
  }]));
  const heads = [...table.querySelectorAll("th[data-sort]")];
  const all = section.querySelector("button.all");
  const { id } = section.querySelector("h2");
  return { id, table, rows, heads, all, isLong: rows.size > MOST_ROWS, sort: null };
}

function addSorting(board) {
  for (const head of board.heads) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const way = board.sort?.head === head && board.sort.way === head.dataset.sort
        ? (head.dataset.sort === "up" ? "down" : "up") : head.dataset.sort;
      sortBy(board, head, way);
      if (filter) show(board);
      toAddress(board);
    });
  }
  if (board.heads[0]) {
    board.heads[0].setAttribute("aria-sort", "ascending");
    board.sort = { head: board.heads[0], way: "up" };
  }
}

// Bounds keep their place above and below, unfinished rows stay last.
function sortBy(board, head, way) {
  for (const h of board.heads) h.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", way === "up" ? "ascending" : "descending");
  board.sort = { head, way };
  const sign = way === "up" ? 1 : -1;
  const ranked = [...board.table.querySelectorAll("tbody.ranked, tbody.older")];
  if (!ranked.length) return;
  const mark = document.createComment("");
  ranked[0].before(mark);
  const keyed = ranked.map((body) => [body.rows[0].cells[head.cellIndex].dataset.v, body]);
  keyed.sort(([x], [y]) => {
    if (x === "" || y === "") return (x === "") - (y === "");
    const [m, n] = [Number(x), Number(y)];
    return sign * (Number.isNaN(m) || Number.isNaN(n) ? x.localeCompare(y) : Math.abs(m - n) <= 1e-10 ? 0 : m - n);
  });
  mark.before(...keyed.map(([, body]) => body));
  mark.remove();
}

function isFiltered() {
  return filter !== null && (filter.q.value.trim() !== "" || filter.knows.value !== "");
}

function showBoards() {
  if (!filter) return;
  let [fitting, all] = [0, 0];
  for (const board of boards.values()) {
    fitting += show(board);
    all += board.rows.size;
  }
  filter.reset.hidden = !isFiltered();
  filter.output.textContent = isFiltered() ? `${fitting} of ${all} rows` : "";
}

// Rows beyond MOST_ROWS are hidden on the screen only: they are printed, and a button shows them.
function show(board) {
  const q = filter.q.value.trim().toLowerCase();
  const knows = filter.knows.value;
  let [fitting, ranked] = [0, 0];
  for (const body of board.table.tBodies) {
    const { name, knows: words } = board.rows.get(body);
    const fits = name.includes(q) && allows(knows, words);
    fitting += fits;
    ranked += fits && !body.classList.contains("bound");
    const over = board.isLong && fits && ranked > MOST_ROWS && !body.classList.contains("bound");
    if (body.hidden === fits) body.hidden = !fits;
    if (body.classList.contains("over") !== over) body.classList.toggle("over", over);
  }
  board.all.hidden = !(board.isLong && ranked > MOST_ROWS);
  board.all.textContent = `Show all ${fitting} rows`;
  return fitting;
}

function showAll(board) {
  board.isLong = false;
  show(board);
}

function allows(choice, words) {
  if (choice === "") return true;
  if (choice === "only-noisy-labels") return words.length === 0;
  const [kind, word] = [choice.slice(0, choice.indexOf(".")), choice.slice(choice.indexOf(".") + 1)];
  return words.includes(word) === (kind === "with");
}

function clear() {
  filter.q.value = "";
  filter.knows.value = "";
  showBoards();
}

// Without a board the address stays at the one that it names, if any.
function toAddress(board = boards.get(location.hash.slice(1).split("?")[0])) {
  const state = new URLSearchParams();
  if (filter.q.value) state.set("q", filter.q.value);
  if (filter.knows.value) state.set("knows", filter.knows.value);
  if (board) {
    const { head, way } = board.sort;
    if (head !== board.heads[0] || way !== "up") state.set("sort", `${head.dataset.key}.${way}`);
  }
  const text = state.toString();
  const place = `${board?.id ?? ""}${text ? `?${text}` : ""}`;
  history.replaceState(null, "", place ? `#${place}` : location.pathname + location.search);
}

function fromAddress() {
  const hash = location.hash.slice(1);
  const cut = hash.indexOf("?");
  const id = cut < 0 ? hash : hash.slice(0, cut);
  const board = boards.get(id);
  if (cut < 0 || (id && !board) || !filter) return showTarget(hash);
  const state = new URLSearchParams(hash.slice(cut + 1));
  filter.q.value = state.get("q") ?? "";
  filter.knows.value = state.get("knows") ?? "";
  if (filter.knows.selectedIndex < 0) filter.knows.value = "";
  showBoards();
  if (!board) return;
  const [, key, way] = /^(\w+)\.(up|down)$/.exec(state.get("sort") ?? "") ?? [];
  const head = board.heads.find((h) => h.dataset.key === key) ?? board.heads[0];
  if (head) sortBy(board, head, head.dataset.key === key ? way : "up");
  document.getElementById(board.id).scrollIntoView();
}

// A link to a row or to a run of it must show it, whatever was filtered; its seeds are opened.
function showTarget(hash) {
  const target = hash && document.getElementById(hash);
  for (let d = target && target.closest("details"); d; d = d.parentElement.closest("details")) d.open = true;
  const board = target && [...boards.values()].find((one) => one.table.contains(target));
  const body = board && [...board.table.tBodies].find((one) => one.contains(target));
  if (!body) return;
  if (body.hidden) clear();
  if (body.classList.contains("over")) showAll(board);
  body.querySelector("details").open = true;
  target.scrollIntoView({ block: "center" });
}
