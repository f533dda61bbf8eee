"use strict";
// Without this script the tables are complete and in order of rank; it only sorts and filters.
// The address keeps the sorting and the filters: #BOARD?q=clip&knows=only-noisy-labels&sort=selection_f1.down
const MOST_ROWS = 100; // of a longer table; laying out 500 rows after each key stroke takes too long
const boards = new Map();
for (const section of document.querySelectorAll("section.board")) {
  const board = readBoard(section);
  boards.set(board.id, board);
  addSorting(board);
  addFilters(board);
}
addEventListener("hashchange", fromAddress);
fromAddress();

function readBoard(section) {
  const table = section.querySelector("table.results");
  const rows = new Map([...table.tBodies].map((body) => [body, {
    name: body.rows[0].cells[1].dataset.v.toLowerCase(),
    knows: body.dataset.knows.split(" ").filter(Boolean),
  }]));
  const heads = [...table.querySelectorAll("th[data-sort]")];
  const controls = section.querySelector(".controls");
  const all = section.querySelector("button.all");
  const { id } = section.querySelector("h2");
  return { id, table, rows, heads, controls, all, isLong: rows.size > MOST_ROWS, sort: null };
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
      show(board);
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

function addFilters(board) {
  const { controls } = board;
  board.q = controls.querySelector("[data-filter=q]");
  board.knows = controls.querySelector("[data-filter=knows]");
  board.reset = controls.querySelector("[data-filter=reset]");
  const changed = () => { show(board); toAddress(board); };
  board.q.addEventListener("input", changed);
  board.knows.addEventListener("change", changed);
  board.reset.addEventListener("click", () => {
    clear(board);
    toAddress(board);
    board.q.focus();
  });
  board.all.addEventListener("click", () => { showAll(board); board.q.focus(); });
  controls.hidden = false;
  show(board);
}

// Rows beyond MOST_ROWS are hidden on the screen only: they are printed, and a button shows them.
function show(board) {
  const q = board.q.value.trim().toLowerCase();
  const knows = board.knows.value;
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
  const active = q !== "" || knows !== "";
  board.reset.hidden = !active;
  board.all.hidden = !(board.isLong && ranked > MOST_ROWS);
  board.all.textContent = `Show all ${fitting} rows`;
  board.controls.querySelector("output").textContent =
    active ? `${fitting} of ${board.rows.size} rows` : "";
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

function clear(board) {
  board.q.value = "";
  board.knows.value = "";
  show(board);
}

function toAddress(board) {
  const state = new URLSearchParams();
  if (board.q.value) state.set("q", board.q.value);
  if (board.knows.value) state.set("knows", board.knows.value);
  const { head, way } = board.sort;
  if (head !== board.heads[0] || way !== "up") state.set("sort", `${head.dataset.key}.${way}`);
  const text = state.toString();
  history.replaceState(null, "", `#${board.id}${text ? `?${text}` : ""}`);
}

function fromAddress() {
  const hash = location.hash.slice(1);
  const cut = hash.indexOf("?");
  const board = boards.get(cut < 0 ? hash : hash.slice(0, cut));
  if (!board) return showTarget(hash);
  const state = new URLSearchParams(cut < 0 ? "" : hash.slice(cut + 1));
  board.q.value = state.get("q") ?? "";
  board.knows.value = state.get("knows") ?? "";
  if (board.knows.selectedIndex < 0) board.knows.value = "";
  const [, key, way] = /^(\w+)\.(up|down)$/.exec(state.get("sort") ?? "") ?? [];
  const head = board.heads.find((h) => h.dataset.key === key) ?? board.heads[0];
  if (head) sortBy(board, head, head.dataset.key === key ? way : "up");
  show(board);
  if (cut >= 0) document.getElementById(board.id).scrollIntoView();
}

// A link to a row or to a run of it must show it, whatever was filtered; its seeds are opened.
function showTarget(hash) {
  const target = hash && document.getElementById(hash);
  for (let d = target && target.closest("details"); d; d = d.parentElement.closest("details")) d.open = true;
  const board = target && [...boards.values()].find((one) => one.table.contains(target));
  const body = board && [...board.table.tBodies].find((one) => one.contains(target));
  if (!body) return;
  if (body.hidden) clear(board);
  if (body.classList.contains("over")) showAll(board);
  body.querySelector("details").open = true;
  target.scrollIntoView({ block: "center" });
}
