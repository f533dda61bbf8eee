// What is listed, as the address says behind its #; the form and links change the address.
const form = byId("form");
const FIELDS = ["show", "given", "suggested", "selector", "part", "decided", "sort", "q"];
const DECIDED = {
  no: (decision) => !decision,
  yes: (decision) => Boolean(decision),
  keep: (decision) => decision?.[0] === "keep",
  relabel: (decision) => decision?.[0] === "relabel",
  remove: (decision) => decision?.[0] === "remove",
};
const byText = (a, b) => (a < b ? -1 : Number(a > b));
const ORDERS = {
  clean: (a, b) => (b.score ?? -Infinity) - (a.score ?? -Infinity),
  file: (a, b) => byText(data.names[a.places[0]], data.names[b.places[0]]),
  pair: (a, b) => a.given - b.given || a.suggested - b.suggested,
};

const fill = (name, choices) => {
  form[name].replaceChildren(...choices.map(([value, text]) => make("option", { value }, text)));
  form[name].closest("label").hidden = choices.length < 2;
};

const classChoices = (values, counts) => [
  ["", "all"],
  ...values.map((label) => [label, `${className(label)} (${thousands(counts.get(label))})`]),
];

const countBy = (key) => {
  const counts = new Map();
  for (const one of suspects) counts.set(one[key], (counts.get(one[key]) ?? 0) + 1);
  return classChoices([...counts.keys()].sort((a, b) => a - b), counts);
};

const fillForm = () => {
  const kinds = Object.entries(data.kinds).map(([kind, title]) => {
    const n = problems.filter((one) => one.kind === kind).length;
    return [kind, `${title} (${thousands(n)})`];
  });
  fill("show", [["", `Suspected labels (${thousands(suspects.length)})`], ...kinds]);
  fill("given", countBy("given"));
  fill("suggested", countBy("suggested"));
  const numbered = (texts) => texts.map((text, i) => [i, text]);
  fill("selector", data.selectors.length > 1 ? [["", "any"], ...numbered(data.selectors)] : []);
  fill("part", data.parts.length > 1 ? [["", "all"], ...numbered(data.parts)] : []);
  fill("decided", [["", "all"], ["no", "undecided"], ["yes", "decided"], ["keep", "kept"],
    ["relabel", "relabelled"], ["remove", "to be removed"]]);
  fill("sort", [["", "worst first"], ["clean", "best first"], ["file", "file name"],
    ["pair", "pair of labels"]]);
};

const fieldsOf = (fragment) => {
  const params = new URLSearchParams(fragment.replace(/^#/, ""));
  return Object.fromEntries(FIELDS.map((name) => [name, params.get(name) ?? ""]));
};

const matches = (item, fields) => {
  const is = (value, wanted) => wanted === "" || String(value) === wanted;
  const text = fields.q.trim().toLowerCase();
  const place = item.places.find((one) => (
    is(data.part[one], fields.part)
    && (fields.decided === "" || DECIDED[fields.decided](decisionOf(one)))
    && (fields.given === "" || is(givenOf(one), fields.given))
    && (text === "" || `${nameOf(one)}\n${className(givenOf(one))}`.toLowerCase().includes(text)
      || (!item.kind && className(item.suggested).toLowerCase().includes(text)))
  ));
  if (place === undefined) return false;
  if (item.kind) return true;
  return is(item.suggested, fields.suggested)
    && (fields.selector === "" || item.selectors.includes(Number(fields.selector)));
};

// A value that no choice has is taken for none, and told.
const readAddress = () => {
  const fields = fieldsOf(location.hash);
  for (const name of FIELDS) {
    form[name].value = fields[name];
    if (form[name].value === fields[name] || name === "q") continue;
    warn(`No choice of '${name}' is '${fields[name]}'; all are shown.`);
    form[name].value = fields[name] = "";
  }
  return fields;
};

const apply = () => {
  const fields = readAddress();
  const all = fields.show ? problems.filter((one) => one.kind === fields.show) : suspects;
  for (const name of ["suggested", "selector", "sort"]) form[name].disabled = Boolean(fields.show);
  const found = all.filter((item) => matches(item, fields));
  if (fields.sort && !fields.show) found.sort(ORDERS[fields.sort]);
  list(found);
  offerBulk();
  const n = FIELDS.filter((name) => fields[name] && name !== "show" && name !== "sort").length;
  byId("n-filters").textContent = n ? `(${n})` : "";
  byId("gallery-title").textContent = fields.show ? data.kinds[fields.show] : "Suspected labels";
  byId("shown").textContent = shownText(found.length, all.length, fields.show);
  refresh();
};

const offerBulk = () => {
  const single = items.every(({ places }) => places.length === 1);
  const isClassPair = items.some(({ kind }) => kind === "same-class");
  const offered = !items[0]?.kind ? BULK.suspects : single ? BULK.singles : BULK.groups;
  const buttons = Object.entries(offered).map(([action, text]) => (
    make("button", { type: "button", "data-bulk": action }, text)
  ));
  byId("bulk").replaceChildren(byId("bulk-title"), ...buttons);
  byId("bulk").hidden = !items.length || isClassPair;
};

const shownText = (n, all, show) => {
  const of = n === all ? "" : ` of ${thousands(all)}`;
  const total = show ? data.totals[show] : data.total;
  const rest = total > all ? ` This page holds ${thousands(all)} of ${thousands(total)}.` : "";
  if (!all && !total) return "Nothing is suspected.";
  return n ? `${thousands(n)}${of} shown.${rest}` : `Nothing matches.${rest}`;
};

const changed = () => {
  const params = new URLSearchParams();
  for (const name of FIELDS) if (form[name].value) params.set(name, form[name].value);
  history.replaceState(null, "", `#${params}`);
  warn("");
  apply();
};

let typing = 0;
let byPointer = false;
form.addEventListener("pointerdown", () => { byPointer = true; });
form.addEventListener("keydown", () => { byPointer = false; });
form.addEventListener("change", ({ target }) => {
  changed();
  // Whoever chose with the mouse goes on with j and k; whoever uses keys stays in the form.
  if (byPointer && target.matches("select")) target.blur();
});
form.addEventListener("submit", (event) => event.preventDefault());
form.q.addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(changed, 200);
});
byId("clear").addEventListener("click", () => {
  for (const name of FIELDS) if (name !== "show") form[name].value = "";
  changed();
});
// A link to what is shown already changes no address.
document.querySelector(".summary").addEventListener("click", ({ target }) => {
  if (target.closest("a")?.hash === location.hash) byId("gallery").scrollIntoView();
});
addEventListener("hashchange", () => {
  if (["#gallery", ""].includes(location.hash)) return;
  warn("");
  apply();
  byId("gallery").scrollIntoView();
});
