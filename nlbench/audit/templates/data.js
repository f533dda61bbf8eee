"use strict";
// Texts reach the page as text only, never as markup.
const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const make = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
};
const thousands = (n) => String(n).replace(/\B(?=(\d{3})+$)/g, "\u202f");
const counted = (n, one, many = `${one}s`) => `${thousands(n)} ${n === 1 ? one : many}`;

const suspects = data.suspects.map((row) => {
  const [place, given, suggested, score, selectors, reasons, likeGiven, likeSuggested] = row;
  return { places: [place], given, suggested, score, selectors, reasons, likeGiven, likeSuggested };
});
const problems = data.problems.map(([kind, places, detail, labels, more]) => (
  { kind, places, detail, labels, more }
));

const nameOf = (place) => data.shown[place] ?? data.names[place];
const givenOf = (place) => data.given[place];
const className = (label) => data.classesShown[label];
const linkOf = (place) => {
  if (data.base === null) return null;
  const name = data.names[place].split("/").map(encodeURIComponent).join("/");
  return data.base + (data.hrefs[place] ?? name);
};

// Each piece is read when its first picture is needed, and its text is then dropped.
const pieces = new Map();
const pictureOf = (place) => {
  const number = Math.floor(place / data.chunk);
  if (!pieces.has(number)) {
    const source = byId(`pictures-${number}`);
    pieces.set(number, JSON.parse(source.textContent));
    source.remove();
  }
  const text = pieces.get(number)[place % data.chunk];
  return text ? `data:image/webp;base64,${text}` : null;
};
