// What one suspect, or one problem with its pictures, looks like. A unit is a picture that is
// decided about: `data-unit` is its number in the list, `data-place` where its data are.
const PICTURE = 128, NEIGHBOUR = 40;

const image = (place, side, described) => {
  const source = pictureOf(place);
  const attributes = { class: "picture", width: side, height: side, title: nameOf(place) };
  if (!source) return make("span", { ...attributes, class: "picture none" }, "no picture");
  return make("img", { ...attributes, src: source, alt: described, decoding: "async" });
};

const linked = (place, content, attributes = {}) => {
  const href = linkOf(place);
  if (href === null) return content;
  const to = { href, target: "_blank", rel: "noreferrer", tabindex: -1, ...attributes };
  return make("a", to, content);
};

const button = (action, text, key, name, label = null) => make("button", {
  type: "button", "data-action": action, "data-label": label, "aria-label": name, title: key,
  "aria-pressed": "false", tabindex: -1,
}, text);

const neighbours = (label, places) => {
  if (!data.hasPictures || !places.length) return "";
  return make("div", { class: "like" },
    make("span", { class: "label" }, className(label)),
    make("span", { class: "row" }, ...places.map((place) => (
      linked(place, image(place, NEIGHBOUR, `a ${className(label)}`))
    ))));
};

const fileLine = (place) => {
  const part = data.parts.length > 1 ? data.parts[data.part[place]] : "";
  const name = make("bdi", { title: nameOf(place) }, nameOf(place));
  return make("p", { class: "file" }, linked(place, name), part ? ` (${part})` : "");
};

const scoreText = (score) => (score === null ? "none" : String(Number(score.toPrecision(3))));

const suspectCard = (item, unit) => {
  const [place] = item.places;
  const given = className(item.given), suggested = className(item.suggested);
  const why = item.reasons.map((i) => data.reasons[i]).join("; ");
  const by = item.selectors.map((i) => data.selectors[i]).join(", ");
  return make("article", { class: "card", ...unitAttributes(unit, place) },
    data.hasPictures ? linked(place, image(place, PICTURE, `labelled ${given}`)) : "",
    make("div", { class: "text" },
      make("h3", {}, make("s", {}, given), " → ", make("b", {}, suggested),
        make("span", { class: "score", title: "score: lower is more suspicious" },
          scoreText(item.score))),
      neighbours(item.given, item.likeGiven),
      neighbours(item.suggested, item.likeSuggested),
      why ? make("p", { class: "why", title: why }, why) : "",
      by && data.selectors.length > 1 ? make("p", { class: "by" }, `dropped by ${by}`) : "",
    ),
    fileLine(place),
    make("div", { class: "buttons" },
      button("keep", `Keep ${given}`, "y", `Keep the label ${given}`),
      button("relabel", suggested, "n", `Change the label to ${suggested}`, item.suggested),
      button("choose", "Other…", "c", "Choose another class"),
      button("remove", "Remove", "x", "Remove the picture")),
  );
};

const problemCard = (item, unit) => {
  const about = [item.labels.map(className).join(", "), item.detail].filter(Boolean).join(": ");
  const title = [data.kinds[item.kind], about].filter(Boolean).join(": ");
  const more = item.more ? make("p", { class: "quiet" }, `${counted(item.more, "more picture")}, `
    + "not on this page") : "";
  return make("div", { class: "problem", role: "group", "aria-label": title },
    make("h3", { title: about }, about),
    make("div", { class: "group" }, ...item.places.map((place, i) => (
      make("article", { class: "figure", ...unitAttributes(unit + i, place) },
        data.hasPictures ? linked(place, image(place, PICTURE, className(givenOf(place)))) : "",
        make("p", { class: "label" }, className(givenOf(place))),
        fileLine(place),
        make("div", { class: "buttons" },
          button("keep", "Keep", "y", `Keep ${nameOf(place)}`),
          button("choose", "Label", "c", "Choose another class"),
          button("remove", "Remove", "x", `Remove ${nameOf(place)}`))))),
    ), more);
};

const unitAttributes = (unit, place) => ({
  "data-unit": unit, "data-place": place, tabindex: -1,
  "aria-posinset": unit + 1, "aria-setsize": units.length,
});

// What can be done to all that is listed at once.
const BULK = {
  suspects: { keep: "Keep", suggestions: "Take suggestions", remove: "Remove" },
  singles: { keep: "Keep", remove: "Remove" },
  groups: { others: "Keep one of each, remove the others" },
};

// The decision, on whatever shows the picture.
const paint = (element) => {
  const place = Number(element.dataset.place);
  const decision = decisionOf(place);
  element.dataset.decided = decision?.[0] ?? "";
  const label = decision?.[0] === "relabel" ? classNumbers.get(decision[1]) : null;
  let taken = false;
  for (const one of element.querySelectorAll("button")) {
    const { action } = one.dataset;
    const pressed = decision && (action === "relabel" ? Number(one.dataset.label) === label
      : action === decision[0]);
    taken ||= pressed;
    one.setAttribute("aria-pressed", String(Boolean(pressed)));
  }
  const other = element.querySelector("[data-action=choose]");
  other.dataset.text ??= other.textContent;
  const isOther = label !== null && !taken;
  other.textContent = isOther ? className(label) : other.dataset.text;
  other.setAttribute("aria-pressed", String(isOther));
  const { suggested } = items[units[Number(element.dataset.unit)].item];
  element.setAttribute("aria-label", [
    nameOf(place),
    `labelled ${className(givenOf(place))}`,
    suggested === undefined ? "" : `suggested ${className(suggested)}`,
    decision ? wordsOf(decision) : "undecided",
  ].filter(Boolean).join(", "));
};
