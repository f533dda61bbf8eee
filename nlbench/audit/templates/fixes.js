// fixes.csv: file,action,label,given. A cell that a spreadsheet would run begins with an apostrophe,
// which is taken off again when it is read.
const COLUMNS = ["file", "action", "label", "given"];
const ACTIONS = ["keep", "relabel", "remove"];
const FORMULA = /^[=+\-@\t\r\n'\uff1d\uff0b\uff0d\uff20]/;
// All that a program may take for the end of a line or a cell is put into quotes.
const PLAIN = /^[\w./ ()-]*$/;

const cellOf = (text) => {
  const cell = FORMULA.test(text) ? `'${text}` : text;
  return PLAIN.test(cell) ? cell : `"${cell.replaceAll('"', '""')}"`;
};

const csvOf = (decisions) => {
  const rows = [...decisions].map(([file, [action, label, given]]) => (
    [file, action, label, given].map(cellOf).join(",")
  ));
  return [COLUMNS.join(","), ...rows, ""].join("\n");
};

// Cells between delimiters, quotes doubled inside of quotes; throws where a quote stays open.
const rowsOf = (text, delimiter) => {
  const rows = [];
  let row = [], cell = "", quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) {
      if (c !== '"') cell += c;
      else if (text[i + 1] === '"') { cell += c; i++; }
      else quoted = false;
    } else if (c === '"' && cell === "") quoted = true;
    else if (c === delimiter) { row.push(cell); cell = ""; }
    else if (c === "\n" || c === "\r") {
      if (c === "\r" && text[i + 1] === "\n") i++;
      if (row.length || cell !== "") rows.push([...row, cell]);
      row = []; cell = "";
    } else cell += c;
  }
  if (quoted) throw new Error("a quote is never closed");
  if (row.length || cell !== "") rows.push([...row, cell]);
  return rows;
};

// [file, [action, label, given]] of each row; throws at the first row that does not fit this page.
const fixesOf = (content) => {
  const text = content.replace(/^\ufeff/, "");
  const first = text.split(/\r?\n/, 1)[0];
  const delimiter = [",", ";", "\t"].reduce((a, b) => (
    first.split(b).length > first.split(a).length ? b : a
  ));
  const [header = [], ...rows] = rowsOf(text, delimiter);
  const columns = header.map((title) => title.trim());
  if (!columns.includes("file") || !columns.includes("action")) {
    throw new Error(`the first line must name the columns ${COLUMNS.join(", ")}`);
  }
  const seen = new Set();
  return rows.map((cells, i) => {
    const fix = (name) => (cells[columns.indexOf(name)] ?? "").replace(/^'/, "");
    const [file, action, label, given] = COLUMNS.map(fix);
    const refuse = (why) => { throw new Error(`row ${i + 2} (${file}): ${why}`); };
    if (cells.length !== columns.length) refuse(`${cells.length} cells, not ${columns.length}`);
    if (seen.has(file)) refuse("the file is named twice");
    seen.add(file);
    return [file, checked(file, action.trim().toLowerCase(), label, given, refuse)];
  });
};

const checked = (file, action, label, given, refuse) => {
  if (!ACTIONS.includes(action)) refuse(`'${action}' is not keep, relabel or remove`);
  if (action === "relabel" && !classNumbers.has(label)) refuse(`'${label}' is not a class`);
  const place = placeOf.get(file);
  const now = place === undefined ? given : data.classes[givenOf(place)];
  if (given && given !== now) refuse(`it is labelled '${now}' here, not '${given}'`);
  return [action, action === "relabel" ? label : "", now];
};
const classNumbers = new Map(data.classes.map((name, label) => [name, label]));
const placeOf = new Map(data.names.map((name, place) => [name, place]));
