// The list in blocks of rows. Only the blocks near the window have cards; the others keep their
// height, so that thousands of pictures scroll like a few.
const ROWS = 3;
const NEAR = "1200px 0px";
let items = [];
let units = [];
let blocks = [];
let columns = 0;
let current = 0;
let rowHeight = 0;
const feed = byId("feed");

const isBuilt = (block) => block.element.childElementCount > 0;

const buildBlock = (block) => {
  if (isBuilt(block)) return;
  const draw = items[0].kind ? problemCard : suspectCard;
  const cards = items.slice(block.from, block.to).map((item) => draw(item, item.unit));
  block.element.replaceChildren(...cards);
  block.element.style.height = "";
  for (const element of block.element.querySelectorAll("[data-unit]")) {
    paint(element);
    if (Number(element.dataset.unit) === current) mark(element);
  }
};

const emptyBlock = (block) => {
  if (!isBuilt(block) || block.element.contains(document.activeElement)) return;
  block.element.style.height = `${block.element.offsetHeight}px`;
  block.element.replaceChildren();
};

const watcher = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    const block = blocks[Number(target.dataset.block)];
    if (block?.element !== target) continue;
    if (isIntersecting) buildBlock(block);
    else emptyBlock(block);
  }
}, { rootMargin: NEAR });

const blockClass = () => {
  if (!items[0]?.kind) return "block";
  return items.every(({ places }) => places.length === 1) ? "block singles" : "block problems";
};

const columnsNow = () => {
  const probe = make("div", { class: blockClass() });
  feed.append(probe);
  const n = getComputedStyle(probe).gridTemplateColumns.split(" ").length;
  probe.remove();
  return n;
};

// Cuts the list into blocks; the first is built at once, and tells how tall a row is.
const layOut = () => {
  watcher.disconnect();
  columns = columnsNow();
  const size = columns * ROWS;
  blocks = [];
  for (let from = 0; from < items.length; from += size) {
    const element = make("div", { class: blockClass(), "data-block": blocks.length });
    blocks.push({ element, from, to: Math.min(from + size, items.length) });
  }
  feed.setAttribute("role", items[0]?.kind ? "group" : "feed");
  feed.replaceChildren(...blocks.map(({ element }) => element));
  if (!blocks.length) return;
  buildBlock(blocks[0]);
  rowHeight = blocks[0].element.offsetHeight / Math.ceil((blocks[0].to - blocks[0].from) / columns);
  for (const { element, from, to } of blocks.slice(1)) {
    element.style.height = `${rowHeight * Math.ceil((to - from) / columns)}px`;
  }
  for (const { element } of blocks) watcher.observe(element);
};

const list = (found) => {
  items = found;
  units = [];
  items.forEach((item, i) => {
    item.unit = units.length;
    for (const place of item.places) units.push({ item: i, place });
  });
  current = 0;
  layOut();
};

const elementOf = (unit) => {
  if (!units[unit]) return null;
  const { item } = units[unit];
  buildBlock(blocks[Math.floor(item / (columns * ROWS))]);
  return feed.querySelector(`[data-unit="${unit}"]`);
};

const mark = (element) => {
  for (const old of feed.querySelectorAll(".current")) {
    old.classList.remove("current");
    old.tabIndex = -1;
    for (const one of old.querySelectorAll("button, a")) one.tabIndex = -1;
  }
  element.classList.add("current");
  element.tabIndex = 0;
  for (const one of element.querySelectorAll("button, a")) one.tabIndex = 0;
};

const select = (unit) => {
  current = Math.max(0, Math.min(unit, units.length - 1));
  const element = elementOf(current);
  if (element) mark(element);
  return element;
};

const go = (unit) => {
  const element = select(unit);
  if (!element) return;
  element.focus({ preventScroll: true });
  element.scrollIntoView({ block: "nearest" });
};

// After decisions: the progress, and all that is on the screen.
const refresh = () => {
  for (const element of feed.querySelectorAll("[data-unit]")) paint(element);
  const { keep, relabel, remove } = tally();
  byId("progress").textContent = decisions.size === 0 ? "Nothing decided yet"
    : `${thousands(decisions.size)} decided: ${thousands(keep)} kept, ${thousands(relabel)} relabelled, `
      + `${thousands(remove)} to be removed`;
  byId("export").disabled = decisions.size === 0;
  byId("undo").disabled = steps.length === 0;
};

new ResizeObserver(() => {
  if (!items.length || columnsNow() === columns) return;
  const focused = feed.contains(document.activeElement);
  layOut();
  if (focused) go(current);
  else if (current) elementOf(current).scrollIntoView({ block: "nearest" });
}).observe(feed);
