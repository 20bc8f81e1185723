// The page. One state, in the address; links change it, and everything is drawn from it and from `data`.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const { detectors, facts, classes } = data;
const several = detectors.length > 1;
const everyone = [...detectors.keys()];
const letters = everyone.map((place) => (place < 26 ? String.fromCharCode(65 + place) : `D${place + 1}`));
const ABSENT = "–";
const TABS = { examples: "Examples", classes: "Classes", compare: several ? "Compare" : "Confidence", errors: "Errors", method: "Method" };
const KEYS = ["tab", "d", "pair", "class", "kind", "tide", "as", "cell", "was", "score", "side", "of", "sort", "all", "part", "pic"];
const SHOWN_AT_ONCE = 24;
const ON_PAPER = 4;
const CLASSES_ON_PAPER = 20;
const MOST_ROWS = 30;
const CONFUSIONS = 12;
const NOTHING = { d: "", class: "", kind: "", tide: "", as: "", cell: "", was: "", pic: "" };
const AP = ["coco50", "voc07"].find((kind) => detectors.some((one) => one.map[kind] !== null)) ?? "voc07";
const apName = (kind) => data.ap[kind].name;

/** The examples, as the page has them in few characters; null: it was made without. */
const examples = data.unread && data.pools.flatMap(({ rows, totals, cut, ...pool }) => rows.map(([label, kind, before, cell, tide, score, extra, words, image, wide, high, frames, photo]) => ({
  ...pool, label, kind: data.names[kind], before: data.names[before] ?? "", cell, tide: data.tide[tide]?.name, score, extra, words, image: data.images[image], size: [wide, high], photo: data.photographs[photo],
  frames: frames.map(([x, y, width, height, what, ...rest]) => [x, y, width, height, data.frames[what], ...rest]),
})));
/** By class: of the detection, of the missed object, or of the object that the matrix pairs a detection with. */
const examplesOf = classes.map(() => []);
examples?.forEach((one, place) => {
  one.place = place;
  examplesOf[one.label].push(one);
  if (one.side === "errors" && one.cell !== one.label) examplesOf[one.cell]?.push(one);
});

// ---- state --------------------------------------------------------------------------------------

let state = {};
/** Whether a step of the history is that of the field or slider in use. */
let typing = false;
let visibleExamples = SHOWN_AT_ONCE;

function readState() {
  const given = new URLSearchParams(location.hash.slice(1));
  const read = Object.fromEntries(KEYS.map((key) => [key, given.get(key) ?? ""]));
  if (!(read.tab in TABS)) read.tab = "examples";
  read.d = read.d.split(",").filter((letter) => letters.includes(letter)).join(",");
  if (!Number.isFinite(parseFloat(read.score))) read.score = "";
  return read;
}

function address(changes) {
  const all = { ...state, part: "", pic: "", ...changes };
  return `#${new URLSearchParams(KEYS.filter((key) => all[key]).map((key) => [key, all[key]]))}`;
}

/** Attributes of a link that changes the state. */
const link = (changes) => ({ href: address(changes), "data-go": JSON.stringify(changes) });

/** The state in which one detector is shown. */
const alone = (place) => (several ? letters[place] : "");
/** Attributes of a link to examples; null: the page has none of them. */
function toExamples(changes) {
  const all = { ...NOTHING, tab: "examples", side: "errors", ...changes };
  const at = { ...state, ...all, score: "" };
  const label = classes.indexOf(at.class);
  return (label < 0 ? examples : examplesOf[label])?.some(wantedBy(at, currentSide(at))) ? link(all) : null;
}
const toClass = (name) => link({ ...NOTHING, tab: "classes", class: name });

/** Indices of the detectors that are shown. */
const shown = (at = state) => {
  const some = at.d ? at.d.split(",").map((letter) => letters.indexOf(letter)) : [];
  return some.length ? some : everyone;
};
/** The two detectors that are compared: those chosen, or two that are shown; else those of the verdict, the two best. */
const pairs = data.pools.filter((pool) => pool.side === "neither").map((pool) => [pool.versus, pool.detector]);
const groupOf = (place) => data.intervals.find((entry) => entry.runs.includes(detectors[place].name));
const ofAnother = everyone.find((place) => groupOf(place) !== groupOf(0)) ?? 1;
const topTwo = [1, 2].map((rank) => data.intervals.find((entry) => entry.rank === rank)?.runs[0]).map((name) => everyone.find((place) => detectors[place].name === name));
const usual = pairs.find((two) => topTwo.every((place) => two.includes(place))) ?? [0, ofAnother];
const pairKey = ([a, b]) => `${letters[a]}-${letters[b]}`;
function pair(at = state) {
  const here = shown(at);
  const own = pairs.find((two) => pairKey(two) === at.pair) ?? usual;
  return here.length < 2 || own.every((place) => here.includes(place)) ? own : here.slice(0, 2);
}

/** Labels of the classes that the state is about; null: all. */
function chosenLabels(at = state) {
  if (!at.class) return null;
  const exact = classes.indexOf(at.class);
  if (exact >= 0) return new Set([exact]);
  const part = at.class.toLowerCase();
  return new Set(classes.keys().filter((label) => classes[label].toLowerCase().includes(part)));
}
const oneLabel = () => classes.indexOf(state.class);

// ---- elements -----------------------------------------------------------------------------------

const absent = (value) => value === null || value === undefined || value === false;
/** An element; names that begin with "svg:" are of SVG. An attribute that is a function listens to an event. */
function make(tag, attributes = {}, ...children) {
  const element = tag.startsWith("svg:")
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (!absent(value)) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => !absent(child)));
  return element;
}
const button = (words, click, attributes = {}) => make("button", { type: "button", ...attributes, click }, words);
const card = (title, attributes, ...children) => make("section", attributes, make("h3", {}, title), children);
const noteLine = (...words) => make("p", { class: "note" }, words);

/** A hint that is of no use on paper. */
const onScreen = (words) => make("span", { class: "screen" }, words);
const byId = (id) => document.getElementById(id);
const plural = (number, one, many = `${one}s`) => `${whole(number)} ${number === 1 ? one : many}`;
const whole = (number) => number?.toLocaleString("en") ?? ABSENT;
const known = Number.isFinite;
/** Per cent with one decimal and a true minus, as in the terminal: a half is rounded to an even digit, zero has no sign. */
function percent(value) {
  if (!known(value)) return ABSENT;
  const half = Math.abs(100 * value) % 1 === 0.25;
  return (half ? Math.trunc(1000 * value) / 10 : 100 * value).toFixed(1).replace("-", "−").replace("−0.0", "0.0");
}
/** Points with a sign. */
const points = (value) => (known(value) && percent(value) !== "0.0" && value > 0 ? "+" : "") + percent(value);
/** An interval after its number; none where the resamples agree. */
const within = (low, high, write = percent) => (known(low) ? ` [${write(low)}, ${write(high)}]` : "");
/** Words for numbers without an interval, if there are such among [number, low]. */
const aboutAgreed = (ends) => (ends.some(([value, low]) => known(value) && !known(low)) ? ` ${data.agreed}` : "");
const mostObjects = Math.max(0, ...data.objects);
const scoreText = (value) => (!known(value) ? ABSENT : value === 0 || Math.abs(value) >= 0.005 ? value.toFixed(2) : value.toPrecision(1));
const colourOf = (place) => `--d: var(--d${place % 5})`;
/** A colour of the tables; what is nearly black is drawn in the colour of text, to be seen in the dark. */
const kindColour = (colour) => `--k: ${parseInt(colour.slice(1, 3), 16) < 50 && colour[1] === colour[3] ? "var(--ink)" : colour}`;
const kindOf = (name) => data.kinds.find((kind) => kind.name === name) ?? data.fates.find((fate) => fate.name === name);
const letter = (place) => make("span", { class: "letter", style: colourOf(place) }, letters[place]);
const swatch = (colour) => make("span", { class: "swatch", style: kindColour(colour) });
const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);
const highest = (values, least) => values.reduce((most, value) => (known(value) && value > most ? value : most), least);

/** A detector's letter, where there are several, and its name. */
const nameWithLetter = (place) => [several && letter(place), ` ${detectors[place].name}`];
const letterPrefix = (place) => (several ? `${letters[place]} ` : "");
const legend = (kinds) => make("div", { class: "legend" }, kinds.map(({ name, colour }) => make("span", {}, swatch(colour), name)));
const detectorHeading = (place) => make("h4", {}, nameWithLetter(place));
const detectorLegend = () => several && make("div", { class: "legend" }, shown().map((place) => make("span", {}, nameWithLetter(place))));
/** Links of which one is current: [changes, whether it is that one, words]. */
const choices = (label, links) => make("div", { class: "sides", role: "group", "aria-label": label },
  links.map(([changes, current, words]) => make("a", { ...link(changes), "aria-current": current && "true" }, words)));
/** A wide thing that scrolls in its box. */
const region = (look, label, inside, style) => make("div", { class: look, role: "region", tabindex: 0, "aria-label": label, style }, inside);
const hiddenCaption = (words) => make("caption", { class: "hidden-words" }, words);

// ---- tables -------------------------------------------------------------------------------------

/** A cell of a table: what it shows and what it is sorted by. */
const cell = (show, key, title) => ({ show, key, title });
const share = (value, title) => cell(percent(value), value, title);
const change = (value) => cell(points(value), value);
const number = (value) => cell(whole(value), value);

/** A table that sorts by any column; columns are texts, those of words begin with "*". */
function table(columns, rows, label) {
  const heads = columns.map((name, place) => ({ text: name.replace("*", ""), words: name.startsWith("*"), place }));
  const body = make("tbody");
  const sort = (event) => {
    const { words, place } = heads[event.target.parentElement.cellIndex];
    const before = event.target.parentElement.getAttribute("aria-sort");
    const down = before === "none" ? !words : before === "ascending";
    for (const other of event.target.closest("tr").cells) other.setAttribute("aria-sort", "none");
    event.target.parentElement.setAttribute("aria-sort", down ? "descending" : "ascending");
    rows = sorted(rows, (row) => (row[place]?.show === undefined ? row[place] : row[place].key), down);
    fill();
  };
  let most = MOST_ROWS;
  const more = button(`Show all ${whole(rows.length)} rows`, () => {
    most = Infinity;
    fill();
  }, { class: "more" });
  function fill() {
    more.hidden = rows.length <= most;
    body.replaceChildren(...rows.slice(0, most).map((row) => make("tr", {}, row.map((value, place) => {
      const { show = value, title } = value ?? {};
      const { text, words } = heads[place];
      return make(place ? "td" : "th", { scope: !place && "row", class: words && "words", title, "data-label": place > 0 && text }, show);
    }))));
  }
  fill();
  const head = make("tr", {}, heads.map(({ text, words }) => make("th", { scope: "col", class: words && "words", "aria-sort": "none" }, button(text, sort))));
  return make("div", {}, region("table-box", label, make("table", {}, hiddenCaption(label), make("thead", {}, head), body)), more);
}

/** Rows by a key; without one they stay last. */
function sorted(rows, keyOf, down) {
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b) * (down ? -1 : 1);
  return [...rows].sort((one, other) => {
    const [a, b] = [keyOf(one), keyOf(other)];
    return absent(a) - absent(b) || (absent(a) ? 0 : compare(a, b));
  });
}

/** Charts one below the other; those of half the width in two columns; on paper all but wide ones. */
function blocks(all) {
  const made = [];
  for (const one of all.flat().filter(Boolean)) {
    const half = printing ? !one.matches(".across, :has(.pair > :nth-child(3))") : one.matches(".chart:not(.full)");
    if (half && made.at(-1)?.className === "columns" && !one.matches(".apart")) made.at(-1).append(one);
    else made.push(half ? make("div", { class: "columns" }, one) : one);
  }
  return [make("div", { class: "blocks" }, made)];
}

/** A table that is made when it is opened; `rows` may be a function. */
function behind(title, columns, rows, words = "Table") {
  const open = ({ target }) => target.childElementCount < 2 && target.append(table(columns, typeof rows === "function" ? rows() : rows, title));
  return make("details", { class: "behind", toggle: open }, make("summary", { "aria-label": words === "Table" && `Table: ${title}` }, words));
}

/** A chart with its heading, its note, and the table behind it; `look`: its classes. A brief one has its table beside the heading. */
function chart(title, words, body, columns, rows, look = "full") {
  const numbers = columns && behind(title, columns, rows);
  return make("figure", { class: `chart ${look}` }, make("h3", {}, title), words && noteLine(words), look === "brief" ? [numbers, body] : [body, numbers]);
}

// ---- charts of HTML -----------------------------------------------------------------------------

/** A bar of a detector with its interval; `end` is where the axis ends. */
function bar({ place, value, interval, end, go, tip, text = percent(value), label }) {
  const part = (number) => `${Math.max(0, Math.min(100, (100 * number) / end))}%`;
  const { low, high } = interval ?? {};
  const whisker = known(low) && make("span", { class: "whisker", style: `left: ${part(low)}; width: calc(${part(high)} - ${part(low)})` });
  const said = `${label}, ${letters[place]} ${detectors[place].name}: ${text}${known(low) ? ` (${percent(low)} to ${percent(high)})` : ""}`;
  return make(go ? "a" : "div", { class: "row", ...go, style: colourOf(place), "data-tip": `${said}${tip ? `\n${tip}` : ""}` },
    go && make("span", { class: "hidden-words" }, `${said}. Show examples`),
    several && hidden(letter(place)),
    make("span", { class: "track" }, value > 0 && make("span", { class: "fill", style: `width: ${part(value)}` }), whisker),
    make("span", { class: "value", "aria-hidden": go && "true" }, text));
}

const group = (label, rows, tip) => make("div", { class: "group" }, make("div", { class: "label", "data-tip": tip }, label), make("div", {}, rows));
/** A group for each item with a bar of each detector, which `barOf` describes. The axis ends at the longest, or at `least`. */
function bars(items, places, labelOf, barOf, least = 0.001) {
  const groups = items.map((item) => places.map((place) => ({ place, ...barOf(item, place) })));
  const end = highest(groups.flat().flatMap(({ value, interval }) => [value, interval?.high]), least);
  return groups.map((rows, n) => group(labelOf(items[n]), rows.map((row) => bar({ end, ...row }))));
}

/** The interval of a detector, or of a run of a group. */
function intervalOf(place, section, name) {
  const own = detectors[place].name;
  const entry = data.intervals.find((one) => one.name === own) ?? data.intervals.find((one) => one.each_run?.[own])?.each_run[own];
  return entry?.[section]?.[name];
}
const pairEntry = (a, b) => data.comparison.find((entry) => entry.a === detectors[a].name && entry.b === detectors[b].name);

/** The shares of the error types in one bar; each part leads to its examples. */
function stackedBar(shares, place, name) {
  if (!shares.every(known)) return make("span", { class: "quiet" }, ABSENT);
  return make("span", { class: "stacked-row" }, several && letter(place), make("span", { class: "stacked" }, data.kinds.map((kind, n) => {
    if (!(shares[n] > 0)) return null;
    const said = `${name}, ${detectors[place].name}: ${percent(shares[n])} % ${kind.name}`;
    const style = `${kindColour(kind.colour)}; flex: ${shares[n]} 0 0`;
    const go = n > 0 && toExamples({ class: classes.includes(name) ? name : "", kind: kind.name, d: alone(place) });
    return make(go ? "a" : "span", { style, "data-tip": said, "aria-label": go && `${said}. Show examples`, ...go });
  })));
}

/** Differences about a line at zero. Rows: label, difference (middle), low, high, whether it is clear, link. */
function forest(rows) {
  const low = Math.min(0, ...rows.map((row) => row.low ?? row.middle));
  const high = Math.max(0.001, ...rows.map((row) => row.high ?? row.middle));
  const at = (value) => `${(2 + (96 * (value - low)) / (high - low)).toFixed(2)}%`;
  return make("div", { class: "forest" }, rows.flatMap((row) => {
    const clear = row.clear ? " clear" : "";
    const span = known(row.low) && make("span", { class: "span", style: `left: ${at(row.low)}; width: calc(${at(row.high)} - ${at(row.low)})` });
    return [
      make("div", { class: `name${clear}` }, row.go ? make("a", row.go, row.label) : row.label),
      make("div", { class: `axis${clear}`, style: `--zero: ${at(0)}` }, span, make("span", { class: "middle", style: `left: ${at(row.middle)}` })),
      make("div", { class: `text${clear}` }, `${points(row.middle)}${within(row.low, row.high, points)}`),
    ];
  }));
}

// ---- charts of SVG, drawn in the width that there is --------------------------------------------

const observer = new ResizeObserver((entries) => entries.forEach(({ target }) => target.redraw?.()));

/** What is on paper is drawn before the paper's layout is known: widths there, by the parts of the page. */
let printing = false;
const PAPER_WIDTHS = { ".detail": 390, ".panels": 126, ".pair:has(> :nth-child(4))": 192, ".pair:has(> :nth-child(3))": 260, ".pair": 192, ".chart": 392 };

/** An SVG that `draw(svg, width, height)` fills whenever its width changes; lower on paper. */
function plot(tall, label, draw) {
  const height = printing ? Math.round(0.6 * tall) : tall;
  const svg = make("svg:svg", { class: "plot", role: "group", "aria-label": label, height });
  let last = 0;
  svg.redraw = (width = Math.round(svg.getBoundingClientRect().width) || 420) => {
    if (width === last) return;
    last = width;
    svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    svg.replaceChildren();
    draw(svg, width, height);
  };
  if (!printing) observer.observe(svg);
  return svg;
}

const EDGE = { left: 40, right: 14, top: 8, bottom: 38 };

/** Axes of a plot of per cents: `x` is [low, high] or names. */
function axes(svg, width, height, x, xLabel) {
  const inner = [EDGE.left, width - EDGE.right];
  const named = typeof x[0] === "string";
  const across = named ? d3.scalePoint(x, inner).padding(0.5) : d3.scaleLinear(x, inner);
  const up = d3.scaleLinear([0, 100], [height - EDGE.bottom, EDGE.top]);
  const bottom = d3.axisBottom(across).tickSizeOuter(0);
  if (named) bottom.tickValues(x.filter((_, n) => n % Math.ceil(x.length / (width / 45)) === 0));
  else bottom.ticks(Math.min(6, Math.max(1, Math.floor(width / 70))));
  const axis = (name, right, down, ticks) => d3.select(svg).append("g").attr("class", name).attr("transform", `translate(${right},${down})`).call(ticks);
  axis("grid", EDGE.left, 0, d3.axisLeft(up).ticks(5).tickSize(inner[0] - inner[1]).tickFormat("")).select(".domain").remove();
  axis(null, 0, height - EDGE.bottom, bottom);
  axis(null, EDGE.left, 0, d3.axisLeft(up).ticks(5).tickSizeOuter(0));
  svg.append(make("svg:text", { x: (inner[0] + inner[1]) / 2, y: height - 4, "text-anchor": "middle" }, xLabel));
  return [across, up];
}

/** Lines. Series: {name, place, dash, points: [[x, y], ...]}; the pointer tells the nearest points. */
function lines(label, series, { x, xLabel, mark, diagonal, rule, joined = true, height = 250 }) {
  return plot(height, label, (svg, width, height) => {
    const [across, up] = axes(svg, width, height, x, xLabel);
    const rules = [diagonal && [[x[0], 0], [x[1], 100]], known(rule) && [[rule, 0], [rule, 100]]].filter(Boolean);
    svg.append(...rules.map(([from, to]) => make("svg:line", { class: "rule", x1: across(from[0]), y1: up(from[1]), x2: across(to[0]), y2: up(to[1]) })));
    const path = d3.line((point) => across(point[0]), (point) => up(point[1])).defined((point) => known(point[1]));
    for (const one of series) {
      const style = colourOf(one.place);
      if (joined) svg.append(make("svg:path", { class: "curve", d: path(one.points), style, "stroke-dasharray": one.dash }));
      const solid = one.points.filter((point) => known(point[1]));
      if (solid.length <= 12 || !joined) svg.append(...solid.map((point) => make("svg:circle", { class: "dot", style, cx: across(point[0]), cy: up(point[1]), r: 4 })));
    }
    if (mark) svg.append(make("svg:circle", { class: "dot", cx: across(mark[0]), cy: up(mark[1]), r: 5 }));
    svg.addEventListener("pointermove", (event) => {
      const at = event.clientX - svg.getBoundingClientRect().left;
      const near = series.flatMap((one) => {
        const [best] = sorted(one.points.filter((point) => known(point[1])), (point) => Math.abs(across(point[0]) - at));
        return !best ? [] : [`${one.name}: ${best[1].toFixed(1)} at ${typeof best[0] === "string" ? best[0] : best[0].toPrecision(3)}`];
      });
      tell(near.join("\n"), event.clientX, event.clientY);
    });
    svg.addEventListener("pointerleave", hush);
  });
}

/** Shares as layers over named places. */
function layers(label, places, kinds, rows, xLabel) {
  return plot(220, label, (svg, width, height) => {
    const [across, up] = axes(svg, width, height, places, xLabel);
    const stacked = d3.stack().keys(kinds.map((kind) => kind.name)).value((row, key) => 100 * (row[key] ?? 0))(rows);
    const area = d3.area((_, n) => across(places[n]), (span) => up(span[0]), (span) => up(span[1]));
    stacked.forEach((layer, n) => svg.append(make("svg:path", { class: "layer", style: kindColour(kinds[n].colour), d: area(layer), "data-tip": `${kinds[n].name}: ${places.map((place, m) => `${place}: ${percent(rows[m][kinds[n].name])} %`).join(", ")}` })));
  });
}

// ---- the tip ------------------------------------------------------------------------------------

function tell(text, x, y) {
  const tip = byId("tip");
  tip.textContent = text;
  tip.hidden = !text;
  const { width, height } = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(x + 14, innerWidth - width - 4))}px`;
  tip.style.top = `${y + 18 + height > innerHeight ? Math.max(4, y - height - 10) : y + 18}px`;
}
const hush = () => { byId("tip").hidden = true; };
document.addEventListener("pointerover", (event) => {
  const text = event.target.closest?.("[data-tip]")?.dataset.tip;
  if (text) tell(text, event.clientX, event.clientY);
  else if (!event.target.closest?.("svg.plot")) hush();
});
document.addEventListener("focusin", (event) => {
  const target = event.target.closest("[data-tip]");
  if (!target?.matches(":focus-visible")) return hush();
  const box = target.getBoundingClientRect();
  tell(target.dataset.tip, box.left, box.bottom - 8);
});
document.addEventListener("focusout", hush);
document.addEventListener("scroll", hush, { passive: true, capture: true });

// ---- pictures -----------------------------------------------------------------------------------

const wideLetters = /[\u1100-\u11ff\u2e80-\uffdc]/;
/** A tag of a box within the picture: at the top of a detection, at the bottom of an object. */
function tag(words, [left, top, width, height], [across, down], size, where) {
  const short = [...words].length > 26 ? `${[...words].slice(0, 25).join("")}…` : words;
  const long = size * (0.4 + [...short].reduce((sum, one) => sum + (wideLetters.test(one) ? 1.02 : 0.62), 0));
  const tall = 1.35 * size;
  let x = where === "right" ? left + width - long : left;
  let y = where === "below" ? top + height : top - tall;
  x = Math.max(0, Math.min(x, across - long));
  if (y < 0) y = top;
  if (y + tall > down) y = Math.min(top + height, down) - tall;
  return [
    make("svg:rect", { class: "tag", x, y, width: long, height: tall, rx: 2 }),
    make("svg:text", { x: x + 0.2 * size, y: y + 0.98 * size, "font-size": size, textLength: long - 0.4 * size, lengthAdjust: "spacingAndGlyphs" }, short),
  ];
}

/** The picture of an example, its boxes and their classes and scores; `width` is how wide it is shown. */
function picture(example, width, tagged = true) {
  const [across, down] = example.size;
  const size = (12 * Math.max(across, (4 * down) / 3)) / width;
  const svg = make("svg:svg", { class: "picture", viewBox: `0 0 ${across} ${down}`, role: "img", "aria-label": describe(example) });
  svg.append(example.photo
    ? make("svg:image", { href: example.photo, width: across, height: down, preserveAspectRatio: "none" })
    : make("svg:rect", { class: "ground", width: across, height: down }));
  // Of its own, so that what reaches beyond the part of the image is cut at its edge.
  const part = make("svg:svg", { width: across, height: down });
  svg.append(part);
  const tags = [];
  let found = 0;
  for (const [left, top, wide, high, what, label, score, place] of example.frames) {
    const box = { x: left, y: top, width: wide, height: high };
    const tagOf = (words, where) => tag(words, [left, top, wide, high], example.size, size, where);
    part.append(make("svg:rect", { class: "box under", ...box }), make("svg:rect", { class: `box ${what}`, ...box, style: what === "found" && `--box: ${frameColour(example, place)}` }));
    if (what === "wanted") tags.push(tagOf(classes[label], "below"));
    if (what === "found") tags.push(tagOf(`${example.versus >= 0 ? letterPrefix(place) : ""}${classes[label]} ${scoreText(score)}`, found++ ? "right" : "above"));
  }
  if (tagged) svg.append(...tags.flat());
  return svg;
}
const frameColour = ({ side, kind }, place) => (side === "errors" ? kindOf(kind).colour : place % 2 ? "#f29d80" : "#82b2f6");
function describe({ side, label, kind, before, score, words, image, detector, versus }) {
  const [who, other] = [detectors[detector].name, detectors[versus]?.name];
  const said = {
    errors: ` ${scoreText(score)}, ${kind}: ${words}`,
    missed: `, ${kind}: ${words}`,
    only: `, found by ${who} with ${scoreText(score)}; ${other}: ${kind}`,
    neither: `; ${other}: ${before}; ${who}: ${kind}`,
  };
  return `${classes[label]}${said[side]}. Image ${image}`;
}
function caption({ side, label, kind, before, score, words, detector, versus }) {
  const fate = (word, place) => make("span", {}, several && letter(place), " ", swatch(kindOf(word).colour), word);
  const heading = make("b", {}, `${classes[label]} ${["errors", "only"].includes(side) ? `${scoreText(score)} ` : ""}`);
  if (side === "errors" || side === "missed") return [heading, fate(kind, detector), make("div", { class: "quiet" }, words)];
  const both = side === "only" ? [fate("correct", detector), " · ", fate(kind, versus)] : [fate(before, versus), " · ", fate(kind, detector)];
  return [heading, make("div", {}, both)];
}

// ---- the first screen ---------------------------------------------------------------------------

function drawBar() {
  const toggle = (place) => {
    const now = everyone.filter((other) => shown().includes(other) !== (other === place));
    location.hash = address({ d: now.length < detectors.length ? now.map((n) => letters[n]).join(",") : "" });
  };
  byId("chips").append(...detectors.map((one, place) => button([letter(place), make("span", { class: "name" }, one.name)], () => toggle(place), { class: "chip", id: `chip-${place}`, "data-tip": one.name })));
  byId("class-names").append(...classes.map((name) => make("option", { value: name })));
  // What is typed or drawn in one go is one step back.
  const go = (changes) => {
    history[typing ? "replaceState" : "pushState"](null, "", address(changes));
    typing = true;
    render();
  };
  for (const id of ["class", "score"]) byId(id).addEventListener("change", () => { typing = false; });
  byId("class").addEventListener("input", (event) => go({ class: event.target.value.trim(), as: "" }));
  const scores = (examples ?? []).filter((one) => one.side !== "missed").map((one) => one.score);
  const slider = byId("score");
  slider.min = scores.reduce((least, value) => Math.min(least, value), 0);
  slider.max = highest(scores, 1);
  slider.addEventListener("input", () => go({ score: Number(slider.value) > Number(slider.min) ? Number(slider.value).toPrecision(3) : "" }));

  const theme = byId("theme");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const remembered = () => { try { return localStorage.getItem("diagnosis-theme"); } catch { return null; } };
  const show = (now) => {
    document.documentElement.dataset.theme = now;
    theme.textContent = now === "dark" ? "Light" : "Dark";
  };
  const showRemembered = () => show(remembered() ?? (dark.matches ? "dark" : "light"));
  theme.addEventListener("click", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("diagnosis-theme", next); } catch { /* shown, but not remembered */ }
    show(next);
  });
  dark.addEventListener("change", showRemembered);
  showRemembered();
}

function drawFirst() {
  const notes = data.notes.length;
  const present = data.objects.filter((objects) => objects > 0).length;
  byId("facts").append(
    `${plural(facts.images, "image")} · ${present < classes.length ? `objects of ${whole(present)} of ` : ""}${plural(classes.length, "class", "classes")} · ${plural(facts.objects, "object")}`,
    facts.ignored ? `, and ${whole(facts.ignored)} difficult or crowd` : "",
    ` · correct from IoU ${facts.iou}`,
    ...(notes ? [" · ", make("a", link({ tab: "method", part: "notes" }), plural(notes, "note on the data", "notes on the data"))] : []),
    examples ? aboutPhotographs(data.unread) : "",
  );
  const grouped = data.intervals.filter((entry) => entry.runs.length > 1);
  if (grouped.length) byId("facts").append(make("br"), `Verdict: ${grouped.map((entry) => `${entry.name} is the mean of ${plural(entry.runs.length, "run")}`).join(", ")}; its intervals include seed-to-seed variation. Bars: each run by itself.`);
  for (const line of data.ties) byId("facts").append(make("br"), line);
  byId("first").append(errorsCard(), make("div", { class: "stack" }, precisionCard(), fixCard()), worstCard());
}

function aboutPhotographs(unread) {
  if (!facts.photographs || (unread.length && !data.photographs.length)) return " · no photographs, so pictures are outlines (--images DIR)";
  if (!unread.length) return "";
  return ` · ${plural(unread.length, "photograph")} could not be read (${unread[0]}${unread.length > 1 ? ", …" : ""})`;
}

function errorsCard() {
  const [, ...wrong] = data.kinds;
  const missed = kindOf("missed");
  const missing = everyone.map(missedShare);
  const silent = detectors.every((one) => one.breakdown.mean_over_classes.correct === null);
  const groups = bars(missing.every(known) ? [...wrong, missed] : wrong, everyone,
    (kind) => [swatch(kind.colour), kind.name, kind === missed && make("span", { class: "quiet" }, " (of objects)")],
    (kind, place) => ({
      tip: kind.text,
      ...(kind === missed
        ? { value: missing[place], interval: intervalOf(place, "objects", "missed"), label: "missed objects", go: toExamples({ side: "missed", d: alone(place) }) }
        : { value: detectors[place].breakdown.mean_over_classes[kind.name], interval: intervalOf(place, "share", kind.name), label: kind.name, go: toExamples({ kind: kind.name, d: alone(place) }) }),
    }), 0.01);
  const rows = detectors.flatMap((one, place) => [
    ...[["class mean", "mean_over_classes"], ["pooled", "pooled"]].map(([words, way]) => [one.name, words, ...data.kinds.map((kind) => share(one.breakdown[way][kind.name], one.breakdown[way].reason)), share(null)]),
    [one.name, "per object", ...data.kinds.map(() => share(null)), share(missing[place])],
  ]);
  const words = silent ? "No detection counts, so there is nothing to break down." : "Per cent of the detections counted, class mean; missed: per cent of objects.";
  return chart("What goes wrong", [words, !silent && onScreen(" Click a bar for its pictures.")], groups, ["*detector", "*averaged", ...data.kinds.map((kind) => kind.name), "missed"], rows, "brief");
}

/** The share of objects that no counted detection speaks for. */
function missedShare(place) {
  const pool = data.pools.find((one) => one.side === "missed" && one.detector === place);
  return facts.objects ? pool.totals.reduce((sum, one) => sum + one[3], 0) / facts.objects : null;
}

function precisionCard() {
  const kinds = [AP, "coco"].filter((kind) => detectors.some((one) => known(one.map[kind])));
  const groups = bars(kinds, everyone, apName, (kind, place) => ({
    value: detectors[place].map[kind], interval: intervalOf(place, "map", kind), end: 1, label: apName(kind), go: link({ ...NOTHING, tab: "classes", sort: `ap${place}` }),
  }));
  const rows = detectors.map((one, place) => [one.name, ...kinds.flatMap((kind) => {
    const { low, high } = intervalOf(place, "map", kind) ?? {};
    return [one.map[kind], low, high].map((value) => share(value, one.map.reason));
  })]);
  const words = kinds.length ? `Per cent, class mean${facts.over ? ` of all classes that have objects; the verdict is${facts.over}` : ""}.` : "No class has objects.";
  return chart("Average precision (AP)", words, make("div", { class: "side-by-side" }, groups), ["*detector", ...kinds.flatMap((kind) => [apName(kind), "low", "high"])], rows, "brief");
}

/** Of TIDE's errors those that are sums of several types. */
const TIDE_SUMS = ["fp", "fn"];

function fixCard() {
  const six = data.tide.filter((kind) => !TIDE_SUMS.includes(kind.name));
  // Of the same classes as the verdict.
  const numbers = (kind, place) => ({ ...intervalOf(place, facts.over ? "dap_enough_objects" : "dap", kind.name), value: detectors[place].gains[kind.name] });
  // Those of the best detector, as in the verdict; where none is known to be the best, the largest of any.
  const best = data.intervals.find((one) => one.rank === 1);
  const gains = (kind) => detectors.filter((one) => !best || best.runs.includes(one.name)).map((one) => one.gains[kind.name]).filter(known);
  const cost = (kind) => (best ? mean(gains(kind)) : highest(gains(kind), -1));
  const first = sorted(six.filter((kind) => cost(kind) > 0), cost, true).slice(0, 3);
  const nothing = everyone.flatMap((place) => {
    const blind = classes.filter((_, label) => data.objects[label] >= Math.min(mostObjects, facts.enough) && detectors[place].classes[label].ap[AP] === 0);
    return blind.length ? [`${several ? letters[place] : detectors[place].name} finds no object of ${blind.length > 3 ? plural(blind.length, "class", "classes") : blind.join(", ")}`] : [];
  });
  const caveat = `${nothing.length ? ` ${nothing.join("; ")}: what is missed there has no cost in TIDE.` : ""}${mostObjects < facts.enough ? ` Too few objects to say: no class has ${facts.enough}.` : ""}`;
  const unlike = data.detectors[0].tide.iou !== facts.iou ? `, at IoU ${data.detectors[0].tide.iou}` : "";
  const groups = bars(first, everyone, (kind) => kind.label, (kind, place) => gainBar(kind, numbers(kind, place), tideExamples(kind.name, place)));
  const rows = six.map((kind) => [kind.label, ...everyone.flatMap((place) => ["value", "low", "high"].map((part) => change(numbers(kind, place)[part])))]);
  const columns = ["*error", ...detectors.flatMap((one) => [one.name, "low", "high"])];
  const whose = several ? `: ${best ? `${best.name}'s largest first` : "the largest of any of them first"}` : "";
  const words = first.length ? `Points of ${apName("coco50")} to gain (TIDE${unlike})${facts.over}${whose}.` : `No type of error costs ${several && best ? `${best.name} ` : ""}AP by itself.`;
  return chart("What to fix first", `${words}${caveat}`, groups, columns, rows, "brief");
}
/** A bar of the AP to gain if a type of error were mended. */
const gainBar = ({ label, text }, interval, go) => ({ value: interval.value, interval, text: points(interval.value), tip: text, label, go });
/** The very errors that TIDE counts; of sums of several types there is no such view. */
function tideExamples(name, place) {
  return TIDE_SUMS.includes(name) ? null : toExamples({ side: name === "miss" ? "missed" : "errors", tide: name, d: alone(place) });
}

function worstCard() {
  const score = (label) => mean(detectors.map((one) => one.classes[label].ap[AP]).filter(known));
  const counted = [...classes.keys()].filter((label) => known(score(label)));
  const enough = counted.filter((label) => data.objects[label] >= facts.enough);
  const worst = sorted(enough.length ? enough : counted, score).slice(0, 3);
  const meanOf = several ? ` (mean of ${detectors.length > 2 ? "all" : "both"})` : "";
  const cards = worst.map((label) => {
    // A detector that finds nothing of the class has no error that costs it most.
    const nothing = everyone.filter((place) => detectors[place].classes[label].ap[AP] === 0);
    const [error, cost] = (!nothing.length && data.costliest[label]) || [];
    const why = error ? `mostly ${data.tide.find((one) => one.name === error).label}: costs ${percent(cost)}\u00a0points${meanOf} · `
      : nothing.length ? `${several ? `${nothing.map((place) => letters[place]).join(", ")}: ` : ""}none found · ` : "";
    const own = examples ? examplesOf[label].filter((one) => one.label === label && !one.beyond) : [];
    const example = own.find((one) => one.tide === error) ?? own.find((one) => one.side === "errors") ?? own[0];
    return make("a", { class: "worst", ...toClass(classes[label]) },
      example ? hidden(picture(example, 116, false)) : make("span", {}),
      make("span", {}, make("strong", {}, classes[label]),
        make("span", { class: "numbers" }, detectors.map((one, place) => make("span", {}, several && letter(place), ` ${percent(one.classes[label].ap[AP])} %`))),
        make("span", { class: "quiet" }, `${why}${plural(data.objects[label], "object")}`)));
  });
  const words = worst.length ? `Lowest ${apName(AP)}${meanOf}, of classes with at least ${plural(enough.length ? facts.enough : 1, "object")}; of each the error that costs it most ${apName("coco50")} (TIDE).` : "No class has objects.";
  return card("The three worst classes", { class: "card" }, noteLine(words), make("div", { class: "worsts" }, cards));
}
function hidden(element) {
  element.setAttribute("aria-hidden", "true");
  return element;
}

// ---- Examples -----------------------------------------------------------------------------------

/** The sides that can be looked at: key, words, whether an example is on it. */
function sides(at = state) {
  const here = new Set(shown(at));
  const [a, b] = pair(at);
  const both = (side, detector, versus) => (one) => one.side === side && one.detector === detector && one.versus === versus;
  return [
    ["errors", "False positives", (one) => one.side === "errors" && here.has(one.detector)],
    ["missed", "Missed", (one) => one.side === "missed" && here.has(one.detector)],
    ...(several ? [
      [`only-${letters[a]}`, `Only ${letters[a]} right`, both("only", a, b)],
      [`only-${letters[b]}`, `Only ${letters[b]} right`, both("only", b, a)],
      ["neither", "Neither right", both("neither", b, a)],
    ] : []),
  ];
}
function currentSide(at = state) {
  const all = sides(at);
  return all.find(([key]) => key === at.side) ?? all[0];
}

/** Whether a state asks for what is no case of the side, but of the confusion matrix or of TIDE. */
const asksBeyond = (at) => at.as || at.cell || at.tide;

/** Whether an example is one that a state asks for. */
function wantedBy(at, [, , belongs]) {
  const labels = chosenLabels(at);
  const kinds = at.kind ? at.kind.split(",") : null;
  const taken = at.as ? classes.indexOf(at.as) : -1;
  const least = at.score === "" ? -Infinity : Number(at.score);
  const isTaken = (one) => (one.side === "errors" ? one.label === taken : one.frames.some((frame) => frame[4] === "found" && frame[5] === taken));
  return (one) => belongs(one)
    && (!one.beyond || asksBeyond(at))
    && (!at.tide || one.tide === at.tide)
    && (one.side === "missed" || (one.score >= least && (!kinds || kinds.includes(one.kind))))
    && (!at.was || one.before === at.was)
    && (!at.as || isTaken(one))
    && (!at.cell || one.cell === classes.length)  // on background, or not found, in the matrix
    && (!labels || labels.has(at.as && one.side === "errors" ? one.cell : one.label));
}

/** The examples that the state asks for, the most confident first. */
const chosen = (at = state, side = currentSide(at)) => examples.filter(wantedBy(at, side)).sort((a, b) => b.score - a.score || a.extra - b.extra || a.place - b.place);

/** How many such cases there are in all; null: that is not known. */
function numberOf(at, [key, , belongs]) {
  if (at.as || at.cell || (at.score && key !== "missed") || (at.tide && (at.class || at.kind))) return null;
  if (at.tide) return shown(at).reduce((sum, place) => sum + detectors[place].tide.counts[at.tide], 0);
  const labels = chosenLabels(at);
  const kinds = at.kind && key !== "missed" ? at.kind.split(",") : null;
  return data.pools.filter(belongs).flatMap((pool) => pool.totals)
    .filter(([label, kind, before]) => (!labels || labels.has(label)) && (!kinds || kinds.includes(data.names[kind])) && (!at.was || data.names[before] === at.was))
    .reduce((sum, one) => sum + one[3], 0);
}

/** How many of them are here, in which order, and by which rule others are left out. */
function countWords(key, belongs, list, total) {
  const missed = key === "missed";
  const cuts = data.pools.filter((pool) => belongs(pool) && pool.cut !== null && (!pool.beyond || asksBeyond(state)) && (missed || !(Number(state.score || -Infinity) > pool.cut)));
  const most = missed ? "largest" : "most confident";
  const [one, rest] = key === "errors" ? ["error", asksBeyond(state) ? "" : " among the detections counted"] : [missed && !asksBeyond(state) ? "missed object" : "object", ""];
  const what = (count) => `${one}${count === 1 ? "" : "s"}${rest}${state.tide ? " by TIDE's rules" : ""}`;
  const inAll = total ?? list.length;
  const complete = list.length === total || !cuts.length;
  if (!list.length && complete) return `There is no such ${what(1)}.`;
  if (!list.length) return `None of ${total === null ? "these" : `the ${whole(total)} ${what(total)}`} is among the ${most}, which are all that the page has room for.`;
  if (printing && list.length > ON_PAPER) return `${ON_PAPER} of ${whole(inAll)} ${what(inAll)}, the ${most} first.`;
  if (complete) return `${list.length === 1 ? "The only" : `All ${whole(list.length)}`} ${what(list.length)}${list.length > 1 ? `, the ${most} first` : ""}.`;
  const cut = highest(cuts.map((pool) => pool.cut), -Infinity);
  const sure = list.filter((example) => example.score > cut || (example.score === cut && !example.extra)).length;
  const others = list.length - sure;
  const ofAll = total === null ? ` ${what(sure || others)}` : ` of ${whole(total)} ${what(total)}`;
  const below = missed ? `smaller than ${percent(cut)} % of their image` : `of a score below ${scoreText(cut)}`;
  const each = list.slice(sure).some((example) => !example.extra) ? "not all of each detector" : "the first few of each bar, cell and ribbon";
  if (!sure) return `${whole(others)}${ofAll}, the ${most} first: ${each}. No room in the page for the others ${below}.`;
  return `The ${whole(sure)} ${most}${ofAll}${others ? `, then ${whole(others)} more, ${each}` : ""}. No room in the page for ${others ? "the others" : "those"} ${below}.`;
}

/** What the confusion matrix counts of the state, by another rule than the pictures are chosen. */
function matrixWords(key) {
  const [label, nowhere] = [oneLabel(), classes.length];
  if (label < 0 || shown().length > 1 || state.score || !["errors", "missed"].includes(key)) return "";
  if (!state.as && !state.cell && key === "errors" && state.kind && state.kind !== "background") return "";
  const { cells, score } = detectors[shown()[0]].matrix;
  const [row, column, what] = key === "missed" ? [label, nowhere, "not found"] : state.as ? [label, classes.indexOf(state.as), `taken for ${state.as}`] : [nowhere, label, "on background"];
  const count = cells.find((one) => one[0] === row && one[1] === column)?.[2] ?? 0;
  const left = state.cell && key === "errors" ? " There each object has one detection at most, the one that overlaps it most; what is left over is on background." : "";
  return ` The confusion matrix has ${whole(count)} ${what}${known(score) ? `: it counts all detections of a score of ${scoreText(score)} or more` : ""}.${left}`;
}

/** A link that takes a filter away, or, if it is not `on`, sets it. */
const token = (changes, words, on, colour) => make("a", { class: "token", ...link(changes), "aria-current": colour && on && "true", "aria-label": on && `${words}: remove this filter` },
  colour && swatch(colour), words, on && make("span", { "aria-hidden": "true" }, "×"));

function drawExamples() {
  if (!examples) return [make("p", {}, "This page was made without examples.")];
  const side = currentSide();
  const [key, , belongs] = side;
  const list = chosen();
  const total = numberOf(state, side);
  const ofAll = (pictures, count) => (count > pictures ? `${whole(pictures)} of ${whole(count)}` : whole(pictures));
  const tokens = [
    [state.class && `${state.as ? "truth" : "class"}: ${state.class}`, { class: "", as: "" }],
    [state.as && `taken for: ${state.as}`, { as: "" }],
    [state.cell && (key === "missed" ? "not found in the matrix" : "on background in the matrix"), { cell: "" }],
    [state.tide && `TIDE: ${data.tide.find((one) => one.name === state.tide)?.label}`, { tide: "" }],
    [state.was && `${letters[pair()[0]]}: ${state.was}`, { was: "" }],
    [state.score && key !== "missed" && `score ≥ ${state.score}`, { score: "" }],
    [state.d && `detectors: ${state.d}`, { d: "" }],
  ].filter(([words]) => words).map(([words, clear]) => token(clear, words, true));
  const kinds = key === "errors" ? data.kinds : key === "missed" ? [] : data.fates;
  const active = state.kind ? state.kind.split(",") : [];
  const chips = kinds.slice(1).map(({ name, colour }) => {
    const on = active.includes(name);
    return token({ kind: on ? active.filter((one) => one !== name).join(",") : name }, name, on, colour);
  });
  const showMore = () => {
    const first = visibleExamples;
    visibleExamples += SHOWN_AT_ONCE;
    drawPanel();
    document.querySelectorAll(".shot")[first]?.focus();
  };
  const left = list.length - visibleExamples;
  return [
    choices("Which examples", sides().map((one) => {
      const go = { side: one[0], was: "", kind: "", cell: "", tide: "" };
      const at = one[0] === key ? state : { ...state, ...go };
      return [go, one[0] === key, `${one[1]} (${ofAll(chosen(at, one).length, numberOf(at, one))})`];
    })),
    make("div", { class: "tokens" }, chips, tokens),
    make("p", { class: "note", id: "count", role: "status" }, chosenLabels()?.size === 0 ? `No class is called ${state.class}.`
      : `${countWords(key, belongs, list, total)}${matrixWords(key)}${list.length ? " Dashed: the object." : ""}`,
    list.some((one) => one.photo) && list.some((one) => !one.photo) ? " Outlines: no photograph at hand, or no room for more of them." : ""),
    shots(list.slice(0, visibleExamples)),
    left > 0 && button(`Show ${Math.min(SHOWN_AT_ONCE, left)} more`, showMore, { class: "more" }),
  ];
}

/** Small pictures that open large. */
const shots = (list) => make("div", { class: "grid" }, list.map((one) => make("a", { class: "shot", ...link({ pic: String(one.place) }) },
  make("div", { class: "frame" }, picture(one, 250)), make("div", { class: "caption" }, caption(one)))));

/** The picture of the state, large. */
function drawLarge() {
  const dialog = byId("large");
  const example = examples?.[Number(state.pic)];
  if (!state.pic || !example) return dialog.open && dialog.close();
  const list = chosen().includes(example) ? chosen() : [example];
  const place = list.indexOf(example);
  const step = (by, words) => button(words, () => dialog.step(by), { disabled: !list[place + by] });
  dialog.step = (by) => {
    const next = list[place + by];
    if (next) history.replaceState(null, "", address({ pic: String(next.place) }));
    render();
  };
  dialog.replaceChildren(
    make("h2", { id: "large-title", tabindex: -1 }, `${classes[example.label]}: ${example.side === "errors" ? example.kind : currentSide()[1]}`),
    picture(example, 900),
    make("p", {}, caption(example), make("span", { class: "quiet" }, `Image ${example.image}`)),
    make("div", { class: "steps" }, step(-1, "← Previous"), make("span", {}, `${place + 1} of ${list.length}`), step(1, "Next →"), button("Close", () => dialog.close())));
  if (!dialog.open) dialog.showModal();
  byId("large-title").focus();
}
byId("large").addEventListener("close", () => {
  if (!state.pic) return;
  const last = state.pic;
  history.replaceState(null, "", address({ pic: "" }));
  render();
  document.querySelector(`.shot[data-go='${JSON.stringify({ pic: last })}']`)?.focus();
});
byId("large").addEventListener("keydown", (event) => {
  if (event.key === "ArrowLeft") byId("large").step(-1);
  if (event.key === "ArrowRight") byId("large").step(1);
});
byId("large").addEventListener("click", (event) => event.target === byId("large") && byId("large").close());

// ---- Classes ------------------------------------------------------------------------------------

function drawClasses() {
  const here = shown();
  const [a, b] = pair();
  const entry = several ? pairEntry(a, b) : undefined;
  const of = (place, label) => detectors[place].classes[label];
  /** Difference, low, high, whether it is clear; as far as they are known. */
  const gap = (label) => {
    const interval = entry?.classes[classes[label]]?.ap;
    if (known(interval?.[0])) return interval;
    const [before, after] = [a, b].map((place) => of(place, label).ap[AP]);
    return known(before) && known(after) ? [after - before] : [];
  };
  const each = (key, title, valueOf, show) => here.map((place) => [`${key}${place}`, `${title}${several ? ` ${letters[place]}` : ""}`, false, (label) => valueOf(of(place, label)), show]);
  // Key, title, whether it is words, what it is sorted by, what it shows.
  const columns = [
    ["name", "class", true, (label) => classes[label]],
    ["objects", "objects", false, (label) => data.objects[label], whole],
    ["shares", "shares of the detections counted", true, (label) => mean(here.map((place) => of(place, label).shares[0]).filter(known)), (_, label) => here.map((place) => stackedBar(of(place, label).shares, place, classes[label]))],
    ...each("ap", apName(AP), (one) => one.ap[AP], percent),
    ...(several ? [["gap", `${letters[b]} − ${letters[a]}`, false, (label) => gap(label)[0], (value, label) => [points(value), within(gap(label)[1], gap(label)[2], points)]]] : []),
    ...each("best", "best threshold", (one) => one.best.score, scoreText),
  ];
  const wanted = state.sort.replace("-", "");
  const column = columns.find(([key]) => key === wanted);
  const down = state.sort.startsWith("-");
  const exact = oneLabel();
  const labels = chosenLabels();
  const every = [...classes.keys()].filter((label) => !labels || exact >= 0 || labels.has(label));
  const empty = (label) => !data.objects[label] && detectors.every((one) => !one.classes[label].detections);
  let rows = labels || state.all ? every : every.filter((label) => !empty(label));
  if (column) rows = sorted(rows, column[3], down);
  if (!state.all && rows.length > MOST_ROWS) {
    rows = rows.slice(0, MOST_ROWS);
    if (exact >= 0 && !rows.includes(exact)) rows.unshift(exact);
  }
  const cut = printing && rows.length > CLASSES_ON_PAPER && ` Here are ${CLASSES_ON_PAPER} of ${every.length} classes.`;
  if (cut) rows = rows.slice(0, CLASSES_ON_PAPER);
  const heads = columns.map(([key, title, words]) => make("th", { scope: "col", class: words && "words", "aria-sort": wanted !== key ? "none" : down ? "descending" : "ascending" },
    make("a", link({ sort: wanted === key && !down ? `-${key}` : key }), title)));
  const follow = (event) => !event.target.closest("a") && !String(getSelection()) && event.currentTarget.querySelector("th a").click();
  const body = rows.flatMap((label) => {
    const open = label === exact;
    const name = make("a", { ...link({ class: open ? "" : classes[label], as: "" }), "aria-expanded": String(open) }, classes[label]);
    const cells = columns.slice(1).map(([key, title, words, valueOf, show]) => make("td",
      words ? { class: "words" } : { "data-label": title, class: key === "gap" && (gap(label)[3] ? "gap clear" : "gap") }, show(valueOf(label), label)));
    return [
      make("tr", { class: open ? "opens open" : "opens", id: `class-${label}`, click: follow }, make("th", { scope: "row", class: "words" }, name), cells),
      open && make("tr", {}, make("td", { class: "detail", colspan: columns.length }, classDetail(label))),
    ];
  });
  const bold = entry ? ` with ${100 * entry.level} % intervals, bold where one leaves out zero and the class has at least ${facts.enough} objects` : "";
  return [
    noteLine(`Shares: per cent of the detections counted. ${apName(AP)} in per cent, differences in points${bold}. Best threshold: the score of the highest F1.${entry ? aboutAgreed(rows.map(gap)) : ""}`, cut, onScreen(" A class opens its curve, its confusions and its pictures.")),
    legend(data.kinds),
    region("table-box", "Classes", make("table", { id: "classes" }, hiddenCaption("Classes"), make("thead", {}, make("tr", {}, heads)), make("tbody", {}, body)), "max-height: none"),
    !rows.length && make("p", {}, `No class is called ${state.class}.`),
    rows.length < every.length && make("a", { class: "more token", style: "width: fit-content", ...link({ all: "1" }) }, `Show all ${whole(every.length)} classes`),
  ];
}

/** All that is known about one class. */
function classDetail(label) {
  const name = classes[label];
  const here = shown();
  const series = here.map((place) => ({ name: detectors[place].name, place, points: curveOf(place, label).map(([, precision, recall]) => [100 * recall, 100 * precision]) }));
  const empty = series.every((one) => !one.points.some((point) => known(point[0])));
  const confusions = topConfusions(here, (row, column) => row === label || column === label).slice(0, facts.confusions);
  const pictures = examples ? examplesOf[label].filter((one) => one.label === label && !one.beyond && here.includes(one.detector)) : [];
  const ranked = sorted(pictures, (one) => (one.side === "missed" ? 0.5 : 1) * one.score, true);
  // A detection that is an error and decides between two detectors has two examples: here one is enough.
  const some = [...new Map(ranked.map((one) => [`${one.image} ${one.score}`, one])).values()].slice(0, 5);
  const numbers = (place) => detectors[place].classes[label];
  return [
    make("div", { class: "pair" },
      make("div", {}, make("h4", {}, "Precision over recall"), empty ? make("p", {}, "No curve: no object or no detection.") : lines(`Precision over recall of ${name}`, series, { x: [0, 100], xLabel: "recall, %" }), detectorLegend(),
        !empty && behind(`Precision over recall of ${name}`, CURVE_COLUMNS, () => curveRows(label))),
      make("div", {}, make("h4", {}, "Confusions"), confusions.length ? confusionBars(confusions, here) : make("p", {}, "No confusion with another class at the best threshold."),
        make("p", { class: "screen" }, [[{}, `False positives called ${name}`], [{ side: "missed" }, "Missed"]].flatMap(([changes, words]) => {
          const go = toExamples({ class: name, ...changes });
          return go ? [make("a", go, words), " "] : [];
        })))),
    make("h4", {}, "Pictures"),
    some.length ? shots(some) : make("p", {}, "No picture of this class."),
    make("h4", { style: "margin-top: 12px" }, "All numbers"),
    make("div", { class: "numbers" }, table(["*detector", "detections", "counted", ...data.kinds.map((kind) => kind.name), ...Object.keys(data.ap).map(apName), "best F1"],
      here.map((place) => [detectors[place].name, number(numbers(place).detections), number(numbers(place).counted), ...numbers(place).shares.map((value) => share(value, numbers(place).reason)), ...Object.keys(data.ap).map((kind) => share(numbers(place).ap[kind])), share(numbers(place).best.f1)]), `All numbers of ${name}`)),
    binTable(label, here),
  ];
}

const binColumns = (here) => ["*characteristic", "*bin", "objects", ...here.map((place) => `APn ${detectors[place].name}`)];
function binTable(label, here) {
  const of = (place, key, n) => detectors[place].classes[label].bins[key]?.[n] ?? [];
  const rows = Object.entries(detectors[here[0]].bins).flatMap(([key, { bins }]) => bins.map((bin, n) => [
    characteristicName(key), binName(bin), number(of(here[0], key, n)[0]), ...here.map((place) => share(of(place, key, n)[1])),
  ]));
  return rows.length > 0 && behind("Characteristics", binColumns(here), rows, "By size, shape and other characteristics");
}

/** Points of a curve: score, precision, recall; of a class or of all. */
function curveOf(place, label = -1) {
  const [scores, precision, recall] = label < 0 ? detectors[place].curve : detectors[place].classes[label].curve;
  return scores.map((score, n) => [score, precision[n], recall[n]]);
}

const f1 = (precision, recall) => (precision + recall > 0 ? (2 * precision * recall) / (precision + recall) : 0);
const CURVE_COLUMNS = ["*detector", "score", "F1", "precision", "recall"];
const curveRows = (label) => shown().flatMap((place) => curveOf(place, label).map(([score, precision, recall]) => [detectors[place].name, cell(scoreText(score), score), share(f1(precision, recall)), share(precision), share(recall)]));

// ---- Compare ------------------------------------------------------------------------------------

function drawCompare() {
  const [a, b] = pair();
  const entry = several ? pairEntry(a, b) : undefined;
  return blocks([
    pairs.length > 1 && pairChoice([a, b]),
    several && !entry && make("p", {}, data.comparison.length ? `There are no intervals for ${detectors[a].name} and ${detectors[b].name} by themselves; those of groups are in the tables below.` : "There are no intervals: the command was run without resampling."),
    data.doubt && make("p", { class: "note across" }, data.doubt),
    ...(entry ? [entry] : data.comparison).map(differences),
    entry && classDifferences(entry, a, b),
    several && flowChart(a, b),
    confidence(),
    data.intervals.length > 0 && intervalTable(),
  ]);
}

/** Which two are compared. */
function pairChoice(now) {
  const words = (two) => `${two.map((place) => `${letters[place]} ${detectors[place].name}`).join(" and ")}${two === usual && data.intervals.length > 1 ? " (verdict)" : ""}`;
  const choose = ({ target }) => {
    history.pushState(null, "", address({ pair: target.value, d: "" }));
    render();
    byId("pair").focus();
  };
  const select = make("select", { id: "pair", change: choose }, pairs.map((two) => make("option", { value: pairKey(two), selected: pairKey(two) === pairKey(now) }, words(two))));
  return make("label", { class: "choice screen across" }, "Compare ", select);
}

const HELD = "holds the truth, % of simulations";

/** Forests of the differences of a pair, a section each. */
function differences(entry) {
  const ends = Object.keys(data.sections).flatMap((section) => Object.values(entry[section] ?? {}).map((one) => [one.difference, one.low]));
  const note = `Points, with ${100 * entry.level} % intervals: ${whole(entry.replicates)} resamples of ${plural(entry.images, "image")}. Bold: the interval leaves out zero${mostObjects < facts.enough ? `; no class mean is, as no class has ${facts.enough} objects` : ""}.${facts.over ? ` Means are over all classes; the verdict is${facts.over}.` : ""} ${data.dagger}${aboutAgreed(ends)}`;
  const p = (one) => {
    const least = 2 / (entry.replicates - (one.undefined_replicates ?? 0) + 1);
    return !known(one.p) ? ABSENT : one.p <= least * 1.000001 ? `≤ ${(Math.ceil(1000 * least - 1e-6) / 1000).toFixed(3)}` : one.p < 0.001 ? "< 0.001" : one.p.toFixed(3);
  };
  const title = `${entry.b} − ${entry.a}`;
  const charts = Object.entries(data.sections).filter(([section]) => entry[section]).map(([section, heading]) => {
    const all = Object.entries(entry[section]).map(([key, one]) => {
      const { name, difference: [held, dagger] } = data.quantities[`${section}/${key}`];
      return { ...one, key, label: `${name}${dagger}`, middle: one.difference, held };
    });
    const some = all.filter((one) => known(one.middle));
    const rows = all.map((one) => [one.label, cell(points(one.middle), one.middle, one.reason), change(one.low), change(one.high), cell(p(one), one.p), one.held || ABSENT]);
    return chart(heading, "", some.length ? forest(some) : make("p", {}, without(entry, section, all.map(({ key }) => key))), ["*quantity", "difference", "low", "high", "p", HELD], rows, "");
  });
  return [make("div", { class: "across" }, make("h3", {}, title), make("p", { class: "note" }, note)), ...charts];
}

/** Which of a pair has no number that could be compared. */
function without(entry, section, names) {
  const lacks = [entry.a, entry.b].filter((own) => !names.some((name) => known(data.intervals.find((one) => one.name === own)?.[section]?.[name]?.value)));
  return lacks.length === 2 || !lacks.length ? "Neither has such a number." : `${lacks[0]} has no such number.`;
}

function classDifferences(entry, a, b) {
  const quantities = [["ap", apName("coco50")], ["localization", "localization"]];
  // A class of three objects differs by chance alone.
  const enough = ([name]) => data.objects[classes.indexOf(name)] >= facts.enough;
  const all = Object.entries(entry.classes);
  const few = !all.some((one) => enough(one) && known(one[1].ap?.[0]));
  const made = quantities.map(([key, name]) => {
    const some = sorted(all.filter((one) => known(one[1][key]?.[0]) && (few || enough(one))), ([, one]) => Math.abs(one[key][0]), true);
    const rows = some.slice(0, 15).map(([label, { [key]: [middle, low, high, clear] }]) => ({ label, middle, low, high, clear, go: key === "ap" ? toClass(label) : toExamples({ class: label, kind: "localization" }) }));
    return rows.some((row) => percent(row.middle) !== "0.0") && make("div", {}, make("h4", {}, name), forest(rows));
  }).filter(Boolean);
  if (!made.length) return null;
  const rows = () => all.map(([label, one]) => [label, ...quantities.flatMap(([key]) => [0, 1, 2].map((n) => change(one[key]?.[n])))]);
  const words = `Points; the classes of the largest differences${few ? "" : `, of those with at least ${facts.enough} objects`}.`;
  return chart(`${detectors[b].name} − ${detectors[a].name} by class`, words, make("div", { class: "pair print-few" }, made), ["*class", ...quantities.flatMap(([, name]) => [name, "low", "high"])], rows);
}

/** What became of each object under two detectors. */
function flowChart(a, b) {
  const entry = data.flow.find((one) => one.a === detectors[a].name && one.b === detectors[b].name);
  if (!entry) return make("p", {}, `What became of each object is not known of ${detectors[a].name} and ${detectors[b].name}.`);
  const names = data.fates.map((fate) => fate.name);
  const total = entry.objects || 1;
  const title = `What became of each object, from ${entry.a} to ${entry.b}`;
  const svg = plot(330, title, (svg, width, height) => {
    const gap = 10;
    const side = Math.min(150, Math.max(118, width * 0.27));
    const scale = (height - 24 - gap * names.length) / total;
    // The fates under each of the two, one below the other.
    const ends = [0, 1].map((right) => {
      let y = 20;
      return data.fates.map((fate) => {
        const size = names.reduce((sum, other) => sum + (right ? entry.all[other][fate.name] : entry.all[fate.name][other]), 0);
        const node = { ...fate, y, size, next: y };
        y += size * scale + gap;
        return node;
      });
    });
    const go = (before, after) => {
      const right = [before, after].map((fate) => fate === "correct");
      if (right.every(Boolean)) return null;
      if (!right.some(Boolean)) return toExamples({ side: "neither", was: before, kind: after, d: state.d });
      return toExamples({ side: `only-${letters[right[0] ? a : b]}`, kind: right[0] ? after : before, d: state.d });
    };
    ends[0].forEach((from) => ends[1].forEach((to) => {
      const count = entry.all[from.name][to.name];
      if (!count) return;
      const [x0, x1, y0, y1, thick] = [side + 10, width - side - 10, from.next, to.next, count * scale];
      from.next += thick;
      to.next += thick;
      const middle = (x0 + x1) / 2;
      const d = `M${x0},${y0}C${middle},${y0} ${middle},${y1} ${x1},${y1}L${x1},${y1 + thick}C${middle},${y1 + thick} ${middle},${y0 + thick} ${x0},${y0 + thick}Z`;
      const said = `${plural(count, "object")}: ${from.name} under ${entry.a}, ${to.name} under ${entry.b}`;
      const target = go(from.name, to.name);
      const path = make("svg:path", { class: "ribbon", d, style: kindColour(to.colour), "data-tip": said });
      svg.append(target ? make("svg:a", { ...target, "aria-label": `${said}. Show examples`, "data-tip": said }, path) : path);
    }));
    [entry.a, entry.b].forEach((who, right) => {
      const nodes = ends[right].filter((node) => node.size);
      let free = 24;  // no label lies on the one above it
      for (const node of nodes) {
        node.label = Math.max(free, node.y + (node.size * scale) / 2 + 4);
        free = node.label + 12;
      }
      free = height - 2;
      for (const node of nodes.toReversed()) {
        node.label = Math.min(free, node.label);
        free = node.label - 12;
      }
      const x = right ? width - side : side;
      svg.append(
        make("svg:text", { class: "name", x: right ? width : 0, y: 11, "text-anchor": right ? "end" : "start" }, `${letters[right ? b : a]} ${who.length > side / 6 ? `${who.slice(0, side / 6 - 1)}…` : who}`),
        ...nodes.flatMap(({ name, colour, y, size, label }) => [
          make("svg:rect", { class: "layer", style: kindColour(colour), x: right ? x - 10 : x, y, width: 10, height: Math.max(size * scale, 1) }),
          make("svg:text", { class: "name", x: right ? x + 8 : x - 8, y: label, "text-anchor": right ? "start" : "end" }, `${name} ${whole(size)}`),
        ]));
    });
  });
  const rows = names.map((before) => [before, ...names.map((after) => number(entry.all[before][after]))]);
  const note = `${plural(entry.objects, "object")} that ${entry.objects === 1 ? "counts" : "count"}, judged by the ${entry.counted === "top" ? "top detections of each class" : "detections"}.`;
  // On paper beside the chart that follows, where that is no wider.
  return chart(title, [note, onScreen(" A ribbon leads to its pictures.")], svg, [`*under ${entry.a}`, ...names.map((name) => `${name} under ${entry.b}`)], rows, shown().length < 3 ? "full apart" : "full");
}

/** F1, precision and recall over the score threshold. */
function confidence() {
  const label = oneLabel();
  const name = label < 0 ? "all classes together" : classes[label];
  const least = state.score === "" ? null : Number(state.score);
  const panels = shown().map((place) => {
    const all = curveOf(place, label).filter((point) => known(point[0])).reverse();
    const { best } = label < 0 ? detectors[place] : detectors[place].classes[label];
    if (!all.length || !known(best.f1)) return make("div", {}, detectorHeading(place), make("p", {}, "No object or no detection."));
    const line = (of, dash, valueOf) => ({ name: of, dash, place, points: all.map((point) => [point[0], 100 * valueOf(...point)]) });
    const series = [
      line("F1", undefined, (_, precision, recall) => f1(precision, recall)),
      line("precision", "6 3", (_, precision) => precision),
      line("recall", "2 3", (_, precision, recall) => recall),
    ];
    const ends = [all[0][0], all.at(-1)[0]];
    const mark = known(best.score) && [best.score, 100 * best.f1];
    const words = mark && make("div", { class: "note" }, `Dot: best F1 ${percent(best.f1)} at ${scoreText(best.score)}`);
    const curves = lines(`F1, precision and recall of ${detectors[place].name}`, series, { x: ends[1] <= 1 && ends[0] >= 0 ? [0, 1] : ends, xLabel: "score threshold", mark, rule: least });
    return make("div", {}, detectorHeading(place), words, curves);
  });
  return chart(`Confidence: ${name}`, "Per cent, counting the detections of at least that score. Solid: F1; dashed: precision; dotted: recall.", make("div", { class: "pair" }, panels), CURVE_COLUMNS, () => curveRows(label));
}

function intervalTable() {
  const entries = data.intervals;
  const quantities = Object.entries(data.sections).flatMap(([section, heading]) => Object.keys(entries[0][section] ?? {}).map((key) => (
    { heading, ...data.quantities[`${section}/${key}`], values: entries.map((entry) => entry[section]?.[key] ?? {}) })));
  const all = quantities.flatMap(({ values }) => values);
  const deviation = ({ runs_deviation: value }) => (known(value) ? ` ± ${percent(value)}` : "");
  const show = (one) => cell(known(one.value) ? `${percent(one.value)}${within(one.low, one.high)}${deviation(one)}` : ABSENT, one.value, one.reason);
  const rows = quantities.map(({ name, heading, number: [held, dagger], values }) => [`${name}${dagger}`, heading, ...values.map(show), held || ABSENT]);
  const grouped = entries.filter((entry) => entry.runs.length > 1);
  const words = `Per cent, with ${100 * entries[0].level} % intervals: ${whole(entries[0].replicates)} resamples of ${plural(entries[0].images, "image")}.${all.some(deviation) ? " ±: standard deviation between the runs." : ""} ${data.dagger}${aboutAgreed(all.map(({ value, low }) => [value, low]))}`;
  const title = several || grouped.length ? "Each detector's numbers with intervals" : "Numbers with intervals";
  return chart(title, words, [
    grouped.length > 0 && make("ul", {}, grouped.map((entry) => make("li", {}, `${entry.name}: the mean of ${plural(entry.runs.length, "run")}, ${entry.runs.join(", ")}`))),
    table(["*quantity", "*of", ...entries.map((entry) => entry.name), HELD], rows, title),
  ], null, null, "full screen");
}

// ---- Errors -------------------------------------------------------------------------------------

function drawErrors() {
  return blocks([matrixChart(), confusionChart(), tideChart(), costs(), groupChart(), bins(), sensitivity(), ranks(), calibration()]);
}

/** The confusions of all shown detectors, the most frequent first: row (truth), column, counts. */
function topConfusions(here, wanted = () => true) {
  const found = new Map();
  const background = classes.length;
  here.forEach((place, n) => detectors[place].matrix.cells.forEach(([row, column, count]) => {
    if (row === column || row === background || column === background || !wanted(row, column)) return;
    const key = `${row} ${column}`;
    if (!found.has(key)) found.set(key, { row, column, counts: here.map(() => 0) });
    found.get(key).counts[n] = count;
  }));
  return sorted([...found.values()], (one) => mean(one.counts), true);
}
function confusionBars(list, here) {
  const label = (one) => `${classes[one.row]} taken for ${classes[one.column]}`;
  return bars(list, here, label, (one, place) => {
    const value = one.counts[here.indexOf(place)];
    return { value, text: whole(value), label: label(one), go: value > 0 && toExamples({ class: classes[one.row], as: classes[one.column], d: alone(place) }) };
  }, 1);
}
function confusionChart() {
  const here = shown();
  const all = topConfusions(here);
  if (!all.length) return chart("Top confusions", "No object is taken for another class at the best threshold.", null);
  const rows = () => all.map((one) => [classes[one.row], classes[one.column], ...one.counts.map(number)]);
  return chart("Top confusions", "Objects, at each detector's threshold of the highest F1.", make("div", { class: "print-few" }, confusionBars(all.slice(0, CONFUSIONS), here)), ["*truth", "*taken for", ...here.map((place) => detectors[place].name)], rows, "");
}

function matrixChart() {
  const here = shown();
  const place = here.includes(letters.indexOf(state.of)) ? letters.indexOf(state.of) : here[0];
  const { cells, score, classes: most } = detectors[place].matrix;
  const nowhere = classes.length;
  const counts = new Map(cells.map(([row, column, count]) => [row * (nowhere + 1) + column, count]));
  const totals = new Array(nowhere + 1).fill(0);
  for (const [row, , count] of cells) totals[row] += count;
  const labels = [...new Set(oneLabel() < 0 ? most : [...most, oneLabel()])].sort((a, b) => a - b);
  const truth = (row) => classes[row] ?? "background";
  const taken = (column) => classes[column] ?? "not found";
  const d = alone(place);
  const matrixCell = (row, column) => {
    const count = counts.get(row * (nowhere + 1) + column) ?? 0;
    if (!count) return make("td");
    if (row === column) return make("td", { class: "right", "data-tip": `${classes[row]} found: ${whole(count)}` }, whole(count));
    const [what, go] = column === nowhere ? ["not found", { side: "missed", class: classes[row], cell: "1", d }]
      : row === nowhere ? [`called ${classes[column]}`, { class: classes[column], cell: "1", d }]
        : [`taken for ${classes[column]}`, { class: classes[row], as: classes[column], d }];
    const said = `${truth(row)} ${what}: ${whole(count)}`;
    const style = `--heat: ${Math.round(6 + (50 * count) / (totals[row] || 1))}%`;
    const to = toExamples(go);
    if (!to) return make("td", { class: "plain", style, "data-tip": said, title: said }, whole(count));
    return make("td", {}, make("a", { ...to, tabindex: -1, style, "data-tip": said, "aria-label": `${said}. Show examples` }, whole(count)));
  };
  const every = [...labels, nowhere];
  const heads = every.map((column) => make("th", { scope: "col", title: taken(column) }, make("span", {}, taken(column))));
  const body = every.map((row) => make("tr", {}, make("th", { scope: "row", title: truth(row) }, truth(row)), every.map((column) => matrixCell(row, column))));
  const grid = make("table", { keydown: moveInGrid }, hiddenCaption("Rows: truth. Columns: what it was taken for."), make("thead", {}, make("tr", {}, make("td", {}), heads)), make("tbody", {}, body));
  grid.querySelector("td a")?.setAttribute("tabindex", "0");
  const choice = here.length > 1 && choices("Matrix of", here.map((one) => [{ of: letters[one] }, one === place, nameWithLetter(one)]));
  const fewer = labels.length < classes.length;
  const those = most.length < facts.matrix ? "those with" : "the ones with the most";
  const words = [
    `Rows: truth; columns: what it was taken for${known(score) ? `, at scores of ${scoreText(score)} and more (highest F1)` : ""}.${fewer ? ` ${whole(most.length)} of ${whole(classes.length)} classes: ${those} confusions.` : ""}`,
    onScreen(` Arrow keys walk.${fewer ? " Search for a class to add it." : ""}${grid.querySelector(".plain") ? " A number without a link has no picture in this page." : ""}`),
  ];
  const rows = () => cells.map(([row, column, count]) => [truth(row), taken(column), number(count)]);
  return chart(`Which class is taken for which: ${detectors[place].name}`, words, [choice, region("matrix", "Confusion matrix", grid)], ["*truth", "*taken for", "number"], rows, labels.length > 12 ? "full across" : "full");
}
/** Arrow keys move to the next cell with a link. */
function moveInGrid(event) {
  const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [];
  if (down === undefined || !event.target.closest("td")) return;
  event.preventDefault();
  let [row, column] = [event.target.closest("tr").rowIndex, event.target.closest("td").cellIndex];
  for (;;) {
    const next = event.currentTarget.rows[(row += down)]?.cells[(column += right)];
    if (!next || row < 1) return;
    const target = next.querySelector("a");
    if (!target) continue;
    event.target.tabIndex = -1;
    target.tabIndex = 0;
    return target.focus();
  }
}

/** What each error type costs, by Hoiem's rules. */
function costs() {
  const title = "What each error type costs (Hoiem)";
  if (!data.impact.length) return chart(title, "No class has objects.", null);
  const here = shown();
  const [first] = data.impact;
  const groups = bars(first.rows, here, (row) => [row.kind && swatch(kindOf(row.kind).colour), row.label],
    (row, place) => gainBar(row, { value: row.values[place] }, row.opens && toExamples({ kind: row.opens, d: alone(place) })));
  const rows = () => data.impact.flatMap(({ name, rows: all }) => all.map((row) => [row.label, name, ...here.map((place) => change(row.values[place])), row.text]));
  return chart(title, `Points of ${first.name} gained if one error type were fixed, class mean of ${first.classes}; a class that would lose counts as 0. Background includes other unless it is called pure. Gains overlap and do not add up.`, groups, ["*fixed", "*gain in", ...here.map((place) => detectors[place].name), "*what it is"], rows, "screen");
}

function tideChart() {
  const here = shown();
  const tide = (place) => detectors[place].tide;
  const { iou } = tide(0);
  const groups = bars(data.tide, here, (kind) => [swatch(kind.colour), kind.label], (kind, place) => gainBar(kind, { value: tide(place).dap[kind.name] }, tideExamples(kind.name, place)));
  const rows = data.tide.map((kind) => [kind.label, kind.text, ...here.flatMap((place) => [change(tide(place).dap[kind.name]), number(tide(place).counts[kind.name])])]);
  const base = here.map((place) => `${letterPrefix(place)}${percent(tide(place)[`ap${100 * iou}`])} %`).join(", ");
  return chart("What each error type costs (TIDE)", [`Points of AP at an IoU of ${iou} (dAP)${facts.over && ", class mean of all classes"}, each error fixed on its own; they do not add up. AP: ${base}.`, onScreen(" A bar leads to its errors; sums of several have no pictures of their own.")], groups, ["*error", "*what it is", ...here.flatMap((place) => [`dAP ${letters[place]}`, `number ${letters[place]}`])], rows, "");
}

/** Shares by group of similar classes. */
function groupChart() {
  const groups = Object.entries(data.groups);
  if (!groups.length) return chart("Groups of similar classes", "No classes are similar here.", null);
  const here = shown();
  const shares = (members, place) => data.kinds.map((_, n) => mean(members.map((name) => detectors[place].classes[classes.indexOf(name)].shares[n]).filter(known)));
  const body = groups.slice(0, MOST_ROWS).map(([name, members]) => group(name, here.map((place) => stackedBar(shares(members, place), place, name)), members.length < MOST_ROWS && members.join(", ")));
  const rows = groups.flatMap(([name, members]) => here.map((place) => [name, detectors[place].name, ...shares(members, place).map((value) => share(value)), members.length < 30 ? members.join(", ") : plural(members.length, "class", "classes")]));
  return chart("Groups of similar classes", "Shares of the detections counted, class mean within each group of similar classes.", [legend(data.kinds), body], ["*group", "*detector", ...data.kinds.map((kind) => kind.name), "*classes"], rows);
}

const CHARACTERISTICS = { area: "Size (area of the box)", height: "Height of the box", aspect_ratio: "Aspect ratio (width over height)", truncated: "Truncated", occluded: "Occlusion" };
const characteristicName = (key) => CHARACTERISTICS[key] ?? `${key[0].toUpperCase()}${key.slice(1)}`.replaceAll("_", " ").replace(".", ": ");
const binName = (bin) => ({ 0: "no", 1: "yes", False: "no", True: "yes" })[bin] ?? String(bin);

/** Normalised average precision by size, shape and what the annotations say. */
function bins() {
  const here = shown();
  const of = (place, key, n) => mean(detectors[place].classes.map((one) => one.bins[key]?.[n]).filter((one) => one && one[0] >= facts.fewest && known(one[1])).map((one) => one[1]));
  const objects = (key, n) => detectors[here[0]].classes.reduce((sum, one) => sum + (one.bins[key]?.[n]?.[0] ?? 0), 0);
  const all = Object.entries(detectors[here[0]].bins).map(([key, { bins: names }]) => ({
    key, names, values: here.map((place) => names.map((_, n) => of(place, key, n))),
  })).filter((one) => one.values.flat().some(known));
  const usual = all.filter((one) => one.key in CHARACTERISTICS || all.length <= 8);
  const panels = usual.map((one) => make("div", {}, make("h4", {}, characteristicName(one.key)), lines(characteristicName(one.key), here.map((place, n) => ({ name: detectors[place].name, place, points: one.names.map((bin, m) => [binName(bin), known(one.values[n][m]) ? 100 * one.values[n][m] : null]) })), { x: one.names.map(binName), xLabel: "", joined: one.key in CHARACTERISTICS, height: 190 })));
  const rows = all.flatMap((one) => one.names.map((bin, m) => [characteristicName(one.key), binName(bin), number(objects(one.key, m)), ...here.map((_, n) => share(one.values[n][m]))]));
  const words = all.length ? `APn, per cent: class mean of the classes with at least ${facts.fewest} objects in the bin; these differ from bin to bin.` : "No bin has enough objects.";
  return chart("Size, shape and other characteristics", words, all.length > 0 && [detectorLegend(), make("div", { class: "panels" }, panels)], all.length && binColumns(here), rows);
}

function sensitivity() {
  const here = shown();
  const rows = here.flatMap((place) => Object.entries(detectors[place].sensitivity).map(([key, one]) => [characteristicName(key), detectors[place].name, ...["overall", "lowest", "highest", "sensitivity", "impact"].map((name) => share(one[name], one.reason)), number(one.classes)]));
  if (!rows.length) return null;
  return chart("Sensitivity", "APn of the worst and the best bin, class mean. Sensitivity: best minus worst; impact: best minus overall.", table(["*characteristic", "*detector", "overall", "worst bin", "best bin", "sensitivity", "impact", "classes"], rows, "Sensitivity"), null, null, "full screen");
}

/** The error mix down the ranking: `placeOf` says where in it a row of the trend is. */
function rankChart(title, words, key, placeOf, kinds, xLabel, recalls, look) {
  const trends = shown().map((place) => [place, Object.values(detectors[place].trends)[0][key].filter((row) => known(row[kinds[0].name]))]).filter(([, rows]) => rows.length);
  if (!trends.length) return chart(title, "No such detection.", null);
  const panels = trends.map(([place, rows]) => make("div", {}, detectorHeading(place), layers(`${title}: ${detectors[place].name}`, rows.map(placeOf), kinds, rows, xLabel)));
  const shares = [...kinds.map((kind) => kind.name), ...recalls];
  const rows = () => trends.flatMap(([place, all]) => all.map((row) => [detectors[place].name, placeOf(row), number(row.n), ...shares.map((name) => share(row[name]))]));
  return chart(title, words, [legend(kinds), make("div", { class: "pair" }, panels)], ["*detector", `*${xLabel}`, "number", ...shares.map((name) => name.replace("_weak", " at IoU 0.1"))], rows, look);
}
const ranks = () => [
  rankChart("Error mix by rank", "Shares of the top detections; N is the number of a class's objects.", "detections", (row) => `${Number(row.factor.toFixed(3))} N`, data.kinds, "detections of each class", ["recall", "recall_weak"], "full"),
  rankChart("False positives by rank", "Shares of the first false positives.", "false_positives", (row) => whole(row.wanted), data.kinds.slice(1), "false positives, all classes together", [], "full screen"),
];

function calibration() {
  const title = "Can the scores be believed?";
  const all = shown().map((place) => ({ place, name: detectors[place].name, ...detectors[place].calibration }));
  const some = all.map((one) => ({ ...one, points: one.bins.filter((bin) => known(bin.precision)).map((bin) => [100 * bin.score, 100 * bin.precision]) })).filter((one) => one.points.length);
  if (!some.length) return chart(title, all[0].reason ?? "No detection to count.", null);
  const words = some.map((one) => `${letterPrefix(one.place)}${percent(one.expected_error)} %`).join(", ");
  const rows = () => some.flatMap((one) => one.bins.map((bin) => [one.name, cell(`${bin.low.toFixed(1)} to ${bin.high.toFixed(1)}`, bin.low), number(bin.detections), share(bin.score), share(bin.precision)]));
  return chart(title, `Share of true positives over the score. Below the diagonal the detector is overconfident. Expected calibration error: ${words}.`, [detectorLegend(), lines("Precision over score", some, { x: [0, 100], xLabel: "score, %", diagonal: true })], ["*detector", "*score", "detections", "mean score", "precision"], rows);
}

// ---- Method -------------------------------------------------------------------------------------

function drawMethod() {
  const scores = detectors.filter((one) => Object.keys(one.coco).length > 2);
  const list = (pairs, name) => make("dl", { class: name }, pairs.map(([key, words]) => make("div", {}, make("dt", {}, key), make("dd", {}, words))));
  // Of each type an object and a detection: x, y, width, height.
  const beside = [[10, 14, 46, 30], [16, 10, 46, 30]];
  const scenes = [[[10, 14, 46, 30], [14, 12, 46, 30]], [[6, 16, 40, 28], [34, 22, 40, 28]], beside, beside, [[6, 20, 26, 22], [54, 14, 32, 36]]];
  const box = ([x, y, width, height], name, style) => make("svg:rect", { class: `box ${name}`, style, x, y, width, height });
  const kinds = data.kinds.map((kind, n) => {
    const [object, found] = scenes[n] ?? scenes[0];
    return make("div", { class: "kind" },
      make("svg:svg", { class: "picture", viewBox: "0 0 96 60", "aria-hidden": "true" }, box(object, "under"), box(object, "wanted"), box(found, "found", `--box: ${kind.colour}`)),
      make("div", {}, make("b", {}, swatch(kind.colour), kind.name), make("div", {}, kind.text)));
  });
  const names = detectors.map((one) => one.name);
  return blocks([
    card("The types of detections", { class: "card across" }, noteLine("Dashed: an annotated object. Coloured: a detection."), make("div", { class: "kinds" }, kinds)),
    card("The variants of average precision (AP)", { class: "card across" }, noteLine("Per cent, class mean."),
      table(["*AP", "*what it is", ...names], Object.entries(data.ap).map(([kind, { name, text }]) => [name, text, ...detectors.map((one) => share(one.map[kind], one.map.reason))]), "The variants of AP"),
      scores.length > 0 && [make("h4", { style: "margin-top: 12px" }, "COCO's scores"), table(["*detector", ...data.cocoHeadings], scores.map((one) => [one.name, ...Object.entries(one.coco).filter(([key]) => key !== "reason").map(([, value]) => share(value, one.coco.reason))]), "COCO's scores")]),
    card("The detectors", { class: "card" }, table(["*detector", "detections", "counted", "images with a detection"], detectors.map((one) => [one.name, number(one.detections), number(one.counted), number(one.images)]), "Detectors")),
    data.notes.length > 0 && card("Notes on the data", { class: "card", id: "notes", tabindex: -1 }, make("ul", {}, data.notes.map((one) => make("li", {}, one)))),
    card("What is counted, and why numbers differ", { class: "card across" }, list(data.rules, "rules")),
    card("Where this comes from", { class: "card across", id: "origin" }, list([...flat(data.origin, "")], "origin")),
  ]);
}
/** Provenance as pairs of a key, nested ones joined by spaces, and a text. */
function* flat(value, key) {
  if (Array.isArray(value) && value.some((part) => part && typeof part === "object" && !Array.isArray(part))) {
    for (const [n, part] of value.entries()) yield* flat(part, `${key} ${n + 1}`);
  } else if (value && typeof value === "object" && !Array.isArray(value)) {
    for (const [name, part] of Object.entries(value)) yield* flat(part, `${key} ${name}`.trim().replaceAll("_", " "));
  } else {
    yield [key, value === null ? ABSENT : Array.isArray(value) ? value.map((part) => (Array.isArray(part) ? part.join(", ") : part)).join(key.endsWith("groups") ? "; " : ", ") : String(value)];
  }
}

// ---- from the state to the page -----------------------------------------------------------------

const DRAW = { examples: drawExamples, classes: drawClasses, compare: drawCompare, errors: drawErrors, method: drawMethod };
/** The link that was followed last, until the page shows where it leads. */
let followed = null;

function drawPanel(tabs = [state.tab]) {
  byId("panel").replaceChildren(...tabs.flatMap((tab, n) => [make("h2", { id: n ? undefined : "panel-title", tabindex: -1 }, TABS[tab]), ...DRAW[tab]().filter(Boolean)]));
}

function render() {
  const before = state;
  state = readState();
  const same = KEYS.every((key) => key === "pic" || state[key] === before[key]);
  if (!same) visibleExamples = SHOWN_AT_ONCE;
  const here = new Set(shown());
  detectors.forEach((_, place) => byId(`chip-${place}`).setAttribute("aria-pressed", here.has(place)));
  if (byId("class").value.trim() !== state.class) byId("class").value = state.class;
  byId("score").value = state.score === "" ? byId("score").min : state.score;
  byId("score-value").textContent = state.score === "" ? "any" : state.score;
  byId("tabs").replaceChildren(...Object.entries(TABS).map(([tab, words]) => make("a", { ...link({ tab }), "aria-current": tab === state.tab && "page" }, words)));
  const { go: focused, inside } = followed ?? {};
  followed = null;
  if (!same) drawPanel();
  for (const one of document.querySelectorAll("[data-go]")) one.setAttribute("href", address(JSON.parse(one.dataset.go)));
  drawLarge();
  if (state.part) {
    byId(state.part)?.focus({ preventScroll: true });
    return byId(state.part)?.scrollIntoView();
  }
  if (!before.tab || same) return;
  // Keyboard and screen reader go on where the link has led.
  const back = focused === undefined && history.state?.focus;
  const where = back ? "#panel [data-go], #answer [data-go]" : "#panel [data-go]";
  const again = (back || (focused && inside && before.tab === state.tab)) && [...document.querySelectorAll(where)].find((one) => one.dataset.go === (back || focused));
  if (again) again.focus({ preventScroll: true });
  else if (focused) byId("panel-title").focus({ preventScroll: true });
  if (focused && (!inside || before.tab !== state.tab)) byId("tabs").scrollIntoView();
  if (state.tab === "classes" && oneLabel() >= 0 && before.class !== state.class) byId(`class-${oneLabel()}`)?.scrollIntoView({ block: "nearest" });
}

addEventListener("hashchange", () => {
  typing = false;
  render();
});
document.addEventListener("click", (event) => {
  const target = event.target.closest?.("[data-go]");
  followed = target && { go: target.dataset.go, inside: byId("panel").contains(target) || byId("tabs").contains(target) };
  if (target) history.replaceState({ focus: target.dataset.go }, "");  // to find it again on the way back
  if (target && state.part && target.getAttribute("href") === location.hash) render();
});
byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
/** Two columns of about the same height: each can go on on the next page by itself. */
function halve(columns) {
  const sides = [0, 1].map(() => ({ height: 0, element: make("div") }));
  const heights = new Map([...columns.children].map((one) => [one, one.matches(".screen") ? 0 : one.offsetHeight]));
  for (const [one, height] of heights) {
    const side = sides[Number(sides[1].height < sides[0].height)];
    side.height += height;
    side.element.append(one);
  }
  columns.replaceChildren(...sides.map((side) => side.element));
}
addEventListener("beforeprint", () => {
  printing = true;
  drawPanel(Object.keys(TABS));
  for (const svg of document.querySelectorAll("svg.plot")) {
    svg.redraw(Object.entries(PAPER_WIDTHS).find(([part]) => svg.closest(part))[1]);
  }
  for (const columns of document.querySelectorAll("#panel .columns, #panel dl.rules")) halve(columns);
});
addEventListener("afterprint", () => {
  printing = false;
  drawPanel();
});
drawBar();
state = readState();
drawFirst();
state = {};
render();
