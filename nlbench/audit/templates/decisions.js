// Decisions by file name, in the browser's storage under the fingerprint of the data.
const KEY = `nlbench clean ${data.fingerprint}`;
const decisions = new Map();
const steps = [];

const warn = (text) => {
  const notice = byId("notice");
  notice.textContent = text;
  notice.hidden = !text;
};
const say = (text) => { byId("said").textContent = text; };

const isDecision = (entry) => Array.isArray(entry) && entry.length === 2
  && typeof entry[0] === "string" && Array.isArray(entry[1]) && entry[1].length === 3
  && ACTIONS.includes(entry[1][0]) && entry[1].every((text) => typeof text === "string");

const load = () => {
  decisions.clear();
  let text = null;
  try {
    text = localStorage.getItem(KEY);
    const stored = text === null ? [] : JSON.parse(text);
    if (!Array.isArray(stored) || !stored.every(isDecision)) throw new Error("damaged");
    for (const [file, decision] of stored) decisions.set(file, decision);
  } catch {
    if (text !== null) setAside(text);
    warn("Decisions of an earlier visit could not be read from this browser. "
      + "Save fixes.csv before you close this page.");
  }
};

const setAside = (text) => {
  try {
    localStorage.setItem(`${KEY} damaged`, text);
  } catch {
    // Without room it cannot be kept; `store` tells so at the next decision.
  }
};

const store = () => {
  try {
    localStorage.setItem(KEY, JSON.stringify([...decisions]));
  } catch {
    warn("This browser does not keep the decisions. Save fixes.csv before you close this page.");
  }
};

const put = (file, decision) => {
  if (decision) decisions.set(file, decision);
  else decisions.delete(file);
};

// One step, however many files it changes; `undo` takes it back.
const change = (changes) => {
  steps.push(changes.map(([file]) => [file, decisions.get(file)]));
  for (const [file, decision] of changes) put(file, decision);
  store();
  refresh();
};

const undo = () => {
  const step = steps.pop();
  if (!step) { say("Nothing to undo."); return null; }
  for (const [file, decision] of step) put(file, decision);
  store();
  refresh();
  say("Undone.");
  return placeOf.get(step[0]?.[0]) ?? null;
};

const decisionOf = (place) => decisions.get(data.names[place]);

const made = (place, action, label = null) => {
  const given = data.classes[givenOf(place)];
  if (action !== "relabel") return [action, "", given];
  return label === givenOf(place) ? ["keep", "", given] : ["relabel", data.classes[label], given];
};

const decide = (place, action, label = null) => {
  const decision = action ? made(place, action, label) : undefined;
  change([[data.names[place], decision]]);
  say(decision ? wordsOf(decision) : "Undecided.");
};

// One decision about all listed pictures that have none; a picture may be listed twice.
const decideAll = (action) => {
  const changes = new Map();
  const decided = (place) => changes.get(data.names[place]) ?? decisionOf(place);
  for (const item of items) {
    // Of copies one stays: one that was kept or relabelled, else the first that was not removed.
    let stays = item.places.some((place) => ["keep", "relabel"].includes(decided(place)?.[0]));
    for (const place of item.places) {
      if (decided(place)) continue;
      const kind = { suggestions: "relabel", others: stays ? "remove" : "keep" }[action] ?? action;
      changes.set(data.names[place], made(place, kind, item.suggested));
      stays = true;
    }
  }
  if (changes.size) change([...changes]);
  say(`${counted(changes.size, "picture")} decided. Undo takes it back.`);
};

const wordsOf = ([action, label]) => {
  if (action !== "relabel") return action === "keep" ? "Kept" : "To be removed";
  return `Now ${className(classNumbers.get(label)) ?? label}`;
};

const tally = () => {
  const counts = { keep: 0, relabel: 0, remove: 0 };
  for (const [action] of decisions.values()) counts[action]++;
  return counts;
};

const save = () => {
  const url = URL.createObjectURL(new Blob([csvOf(decisions)], { type: "text/csv" }));
  make("a", { href: url, download: "fixes.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  say(`fixes.csv: ${counted(decisions.size, "decision")}.`);
};

const read = async (file) => {
  try {
    const fixes = fixesOf(await file.text());
    const replaced = fixes.filter(([name, fix]) => (
      decisions.has(name) && String(decisions.get(name)) !== String(fix)
    )).length;
    const elsewhere = fixes.filter(([name]) => !placeOf.has(name)).length;
    change(fixes);
    say(`${counted(fixes.length, "decision")} loaded.`);
    const parts = [
      replaced && `${counted(replaced, "decision")} replaced. Undo takes it back.`,
      elsewhere && `${counted(elsewhere, "file is", "files are")} not on this page; fixes.csv keeps `
        + "the decisions.",
    ];
    warn(parts.filter(Boolean).join(" "));
  } catch (error) {
    warn(`${file.name} was not loaded: ${error.message}. Nothing was changed.`);
  }
};
