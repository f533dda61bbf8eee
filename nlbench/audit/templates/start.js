// Keys, buttons and dialogs; then the page begins.
const help = byId("help"), chooser = byId("chooser"), classText = byId("class-text");
const MOST_CHOICES = 200;
let chosenFor = null;
let active = 0;

const next = () => { if (current < units.length - 1) go(current + 1); };
const decideHere = (action, label = null) => {
  const unit = units[current];
  if (!unit) return;
  decide(unit.place, action, label);
  next();
};
const accept = () => {
  const item = items[units[current]?.item];
  if (item?.suggested !== undefined) decideHere("relabel", item.suggested);
};
const undone = () => {
  const place = undo();
  const unit = units.findIndex((one) => one.place === place);
  if (place !== null && unit >= 0) go(unit);
};

const openChooser = () => {
  if (!units[current]) return;
  chosenFor = units[current].place;
  classText.value = "";
  listClasses();
  chooser.showModal();
};
const listClasses = () => {
  const text = classText.value.trim().toLowerCase();
  const found = data.classesShown.map((name, label) => ({ name, label }))
    .filter(({ name }) => name.toLowerCase().includes(text));
  found.sort((a, b) => b.name.toLowerCase().startsWith(text) - a.name.toLowerCase().startsWith(text));
  byId("class-list").replaceChildren(...found.slice(0, MOST_CHOICES).map(({ name, label }) => (
    make("li", { role: "option", id: `class-${label}`, "data-label": label }, name)
  )));
  activate(0);
};
const activate = (index) => {
  const choices = [...byId("class-list").children];
  active = Math.max(0, Math.min(index, choices.length - 1));
  choices.forEach((one, i) => one.setAttribute("aria-selected", String(i === active)));
  if (choices.length) classText.setAttribute("aria-activedescendant", choices[active].id);
  else classText.removeAttribute("aria-activedescendant");
  choices[active]?.scrollIntoView({ block: "nearest" });
};
const choose = (choice) => {
  if (!choice) return;
  chooser.close();
  if (units[current]?.place === chosenFor) decideHere("relabel", Number(choice.dataset.label));
};
classText.addEventListener("input", listClasses);
classText.addEventListener("keydown", (event) => {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (step) activate(active + step);
  else if (event.key === "Enter") choose(byId("class-list").children[active]);
  else return;
  event.preventDefault();
});
byId("class-list").addEventListener("click", ({ target }) => choose(target.closest("li")));

const KEYS = {
  j: next,
  k: () => go(current - 1),
  y: () => decideHere("keep"),
  n: accept,
  x: () => decideHere("remove"),
  u: undone,
  c: openChooser,
  "/": () => { byId("filters").open = true; form.q.focus(); form.q.select(); },
  "?": () => help.showModal(),
  Escape: () => go(current),
};
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  const field = event.target.closest?.("input, select, textarea");
  if (field && event.key !== "Escape") return;
  const label = Number(event.key) - 1;
  if (Object.hasOwn(KEYS, event.key)) KEYS[event.key]();
  else if (/^[1-9]$/.test(event.key) && label < data.classes.length) decideHere("relabel", label);
  else return;
  event.preventDefault();
});

feed.addEventListener("focusin", ({ target }) => {
  const element = target.closest("[data-unit]");
  if (element && Number(element.dataset.unit) !== current) select(Number(element.dataset.unit));
});
feed.addEventListener("click", ({ target }) => {
  const element = target.closest("[data-unit]");
  if (!element) return;
  const unit = Number(element.dataset.unit);
  select(unit);
  const pressed = target.closest("button");
  if (!pressed) {
    if (!target.closest("a")) element.focus({ preventScroll: true });
    return;
  }
  const { action, label } = pressed.dataset;
  if (action === "choose") openChooser();
  else {
    const taken = pressed.getAttribute("aria-pressed") === "true";
    decide(units[unit].place, taken ? null : action, label === undefined ? null : Number(label));
  }
});

byId("bulk").addEventListener("click", ({ target }) => {
  if (target.dataset.bulk) decideAll(target.dataset.bulk);
});
byId("undo").addEventListener("click", undone);
byId("export").addEventListener("click", save);
byId("import").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", async ({ target }) => {
  if (target.files.length) await read(target.files[0]);
  target.value = "";
});
byId("keys").addEventListener("click", () => help.showModal());

const copy = byId("copy");
copy.hidden = false;
copy.addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(byId("apply").textContent);
    copy.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(byId("apply"));
    copy.textContent = "Selected, press Ctrl+C";
  }
  setTimeout(() => { copy.textContent = "Copy"; }, 4000);
});
// Another tab with this page decides too.
addEventListener("storage", ({ key }) => {
  if (key !== KEY) return;
  load();
  steps.length = 0;
  refresh();
});

byId("numbers").replaceChildren(...data.classesShown.slice(0, 9).map((name) => make("li", {}, name)));
// On wide screens they are always open; on small ones they open on demand.
const wide = matchMedia("(min-width: 48rem)");
const openFilters = () => { if (wide.matches) byId("filters").open = true; };
wide.addEventListener("change", openFilters);
openFilters();
byId("bar").hidden = false;
load();
fillForm();
apply();
if (location.hash.includes("=")) byId("gallery").scrollIntoView();
