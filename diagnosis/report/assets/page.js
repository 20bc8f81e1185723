// The page. One state, in the address; links change it, and everything is drawn from it and from `data`.
"use strict";

const data = JSON.parse(document.getElementById("data").textContent);
const { detectors, facts, classes } = data;
const letters = detectors.map((_, place) => (place < 26 ? String.fromCharCode(65 + place) : `D${place + 1}`));
const several = detectors.length > 1;
const everyone = detectors.map((_, place) => place);
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
function link(changes) {
  return { href: address(changes), "data-go": JSON.stringify(changes) };
}

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
const pairs = everyone.flatMap((a) => everyone.slice(a + 1).map((b) => [a, b])).filter(([a, b]) => data.pools.some((pool) => pool.side === "neither" && pool.versus === a && pool.detector === b));
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

/** An element; names that begin with "svg:" are of SVG. */
function make(tag, attributes = {}, ...children) {
  const svg = tag.startsWith("svg:");
  const element = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", tag.slice(4))
    : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A hint that is of no use on paper. */
const onScreen = (words) => make("span", { class: "screen" }, words);
const byId = (id) => document.getElementById(id);
const plural = (number, one, many = `${one}s`) => `${whole(number)} ${number === 1 ? one : many}`;
const whole = (number) => (number === null || number === undefined ? ABSENT : number.toLocaleString("en"));
const known = (value) => value !== null && value !== undefined && Number.isFinite(value);
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
const highest = (values, least = 0) => values.reduce((most, value) => (known(value) && value > most ? value : most), least);

function legend(entries) {
  return make("div", { class: "legend" }, entries.map(([name, colour]) => make("span", {}, swatch(colour), name)));
}
const detectorHeading = (place) => make("h4", {}, several && letter(place), ` ${detectors[place].name}`);
const detectorLegend = () => several && make("div", { class: "legend" }, shown().map((place) => make("span", {}, letter(place), ` ${detectors[place].name}`)));

// ---- tables -------------------------------------------------------------------------------------

/** A cell of a table: what it shows and what it is sorted by. */
const cell = (show, key, title) => ({ show, key, title });
const share = (value, title) => cell(percent(value), value, title);
const change = (value) => cell(points(value), value);
const number = (value) => cell(whole(value), value);

/** A table that sorts by any column; columns are texts, those of words begin with "*". */
function table(columns, rows, caption) {
  const body = make("tbody");
  const heads = columns.map((name, place) => {
    const words = name.startsWith("*");
    const head = make("th", { scope: "col", class: words && "words", "aria-sort": "none" });
    const button = make("button", { type: "button" }, name.replace("*", ""));
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "none" ? !words : head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.setAttribute("aria-sort", "none"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      rows = sorted(rows, (row) => row[place]?.key ?? row[place], down);
      fill();
    });
    head.append(button);
    return head;
  });
  let most = MOST_ROWS;
  const more = make("button", { type: "button", class: "more" }, `Show all ${whole(rows.length)} rows`);
  more.addEventListener("click", () => {
    most = Infinity;
    fill();
  });
  function fill() {
    more.hidden = rows.length <= most;
    body.replaceChildren(...rows.slice(0, most).map((row) => make("tr", {}, row.map((value, place) => {
      const { show, title } = typeof value === "object" && value !== null && "show" in value ? value : { show: value };
      const words = columns[place].startsWith("*");
      const attributes = { class: words && "words", title, "data-label": place > 0 && columns[place].replace("*", "") };
      return place === 0 ? make("th", { scope: "row", ...attributes }, show) : make("td", attributes, show);
    }))));
  }
  fill();
  const label = caption ?? columns[0].replace("*", "");
  return make("div", {}, make("div", { class: "table-box", role: "region", tabindex: 0, "aria-label": label },
    make("table", {}, make("caption", { class: "hidden-words" }, label), make("thead", {}, make("tr", {}, heads)), body)), more);
}

/** Rows by a key; without one they stay last. */
function sorted(rows, keyOf, down) {
  const compare = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
  return [...rows].sort((one, other) => {
    const [a, b] = [keyOf(one), keyOf(other)];
    const missing = Number(a === null || a === undefined) - Number(b === null || b === undefined);
    return missing || (a === null || a === undefined ? 0 : compare(a, b) * (down ? -1 : 1));
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
  const details = make("details", { class: "behind" }, make("summary", { "aria-label": words === "Table" && `Table: ${title}` }, words));
  details.addEventListener("toggle", () => {
    if (details.childElementCount < 2) details.append(table(columns, typeof rows === "function" ? rows() : rows, title));
  });
  return details;
}

/** A chart with its heading, its note, and the table behind it; `look`: its classes. A brief one has its table beside the heading. */
function chart(title, note, body, columns, rows, look = "full") {
  const table_ = columns && behind(title, columns, rows);
  const below = look === "brief" ? [table_, body] : [body, table_];
  return make("figure", { class: `chart ${look}` }, make("h3", {}, title), note && make("p", { class: "note" }, note), below);
}

// ---- charts of HTML -----------------------------------------------------------------------------

/** A bar of a detector with its interval; `end` is where the axis ends. */
function bar({ place, value, interval, end, go, tip, text, label }) {
  const part = (number) => `${Math.max(0, Math.min(100, (100 * number) / (end || 1)))}%`;
  const whisker = interval && known(interval.low) && make("span", { class: "whisker", style: `left: ${part(interval.low)}; width: calc(${part(interval.high)} - ${part(interval.low)})` });
  const words = interval && known(interval.low) ? ` (${percent(interval.low)} to ${percent(interval.high)})` : "";
  const said = `${label ? `${label}, ` : ""}${place >= 0 ? `${letters[place]} ${detectors[place].name}: ` : ""}${text ?? percent(value)}${words}`;
  return make(go ? "a" : "div", { class: "row", ...go, style: place >= 0 && colourOf(place), "data-tip": `${said}${tip ? `\n${tip}` : ""}` },
    go && make("span", { class: "hidden-words" }, `${said}. Show examples`),
    several && place >= 0 && hidden(letter(place)),
    make("span", { class: "track" }, value > 0 && make("span", { class: "fill", style: `width: ${part(value)}` }), whisker),
    make("span", { class: "value", "aria-hidden": go && "true" }, text ?? percent(value)));
}

const group = (label, rows, tip) => make("div", { class: "group" }, make("div", { class: "label", "data-tip": tip }, label), make("div", {}, rows));
/** A group for each item with a bar of each detector; `barOf` says what of a bar is not the detector's. */
const bars = (items, places, labelOf, barOf) => items.map((item) => group(labelOf(item), places.map((place) => bar({ place, ...barOf(item, place) }))));

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
    return go
      ? make("a", { style, "data-tip": said, "aria-label": `${said}. Show examples`, ...go })
      : make("span", { style, "data-tip": said });
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
  if (printing) return svg;
  observer.observe(svg);
  return svg;
}

const EDGE = { left: 40, right: 14, top: 8, bottom: 38 };

/** Axes of a plot: `x` is [low, high] or names; both in the units of the ticks. */
function axes(svg, width, height, x, y, xLabel) {
  const inner = [EDGE.left, width - EDGE.right];
  const named = typeof x[0] === "string";
  const across = named ? d3.scalePoint(x, inner).padding(0.5) : d3.scaleLinear(x, inner);
  const up = d3.scaleLinear(y, [height - EDGE.bottom, EDGE.top]);
  const bottom = d3.axisBottom(across).tickSizeOuter(0);
  const room = Math.max(1, Math.floor(width / 70));
  if (named) bottom.tickValues(x.filter((_, n) => n % Math.ceil(x.length / (width / 45)) === 0));
  else bottom.ticks(Math.min(6, room));
  d3.select(svg).append("g").attr("class", "grid").attr("transform", `translate(${EDGE.left},0)`).call(d3.axisLeft(up).ticks(5).tickSize(-(inner[1] - inner[0])).tickFormat("")).select(".domain").remove();
  d3.select(svg).append("g").attr("transform", `translate(0,${height - EDGE.bottom})`).call(bottom);
  d3.select(svg).append("g").attr("transform", `translate(${EDGE.left},0)`).call(d3.axisLeft(up).ticks(5).tickSizeOuter(0));
  svg.append(make("svg:text", { x: (inner[0] + inner[1]) / 2, y: height - 4, "text-anchor": "middle" }, xLabel));
  return [across, up];
}

/** Lines. Series: {name, place or none, dash, points: [[x, y], ...]}; the pointer tells the nearest points. */
function lines(label, series, { x, y = [0, 100], xLabel, mark, diagonal, rule, joined = true, height = 250, format = (value) => value.toFixed(1) }) {
  return plot(height, label, (svg, width, height) => {
    const [across, up] = axes(svg, width, height, x, y, xLabel);
    const line = (from, to, name) => svg.append(make("svg:line", { class: name, x1: across(from[0]), y1: up(from[1]), x2: across(to[0]), y2: up(to[1]) }));
    if (diagonal) line([x[0], y[0]], [x[1], y[1]], "rule");
    if (known(rule)) line([rule, y[0]], [rule, y[1]], "rule");
    const path = d3.line((point) => across(point[0]), (point) => up(point[1])).defined((point) => known(point[1]));
    for (const one of series) {
      const style = one.place >= 0 ? colourOf(one.place) : undefined;
      if (joined) svg.append(make("svg:path", { class: "curve", d: path(one.points), style, "stroke-dasharray": one.dash }));
      const solid = one.points.filter((point) => known(point[1]));
      if (solid.length <= 12 || !joined) svg.append(...solid.map((point) => make("svg:circle", { class: "dot", style, cx: across(point[0]), cy: up(point[1]), r: 4 })));
    }
    if (mark) svg.append(make("svg:circle", { class: "dot", cx: across(mark[0]), cy: up(mark[1]), r: 5 }));
    svg.addEventListener("pointermove", (event) => {
      const at = event.clientX - svg.getBoundingClientRect().left;
      const near = series.flatMap((one) => {
        const some = one.points.filter((point) => known(point[1]));
        if (!some.length) return [];
        const best = some.reduce((a, b) => (Math.abs(across(b[0]) - at) < Math.abs(across(a[0]) - at) ? b : a));
        return [`${one.name}: ${format(best[1])} at ${typeof best[0] === "string" ? best[0] : best[0].toPrecision(3)}`];
      });
      tell(near.join("\n"), event.clientX, event.clientY);
    });
    svg.addEventListener("pointerleave", hush);
  });
}

/** Shares as layers over named places. */
function layers(label, places, kinds, rows, xLabel) {
  return plot(220, label, (svg, width, height) => {
    const [across, up] = axes(svg, width, height, places, [0, 100], xLabel);
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
function hush() {
  byId("tip").hidden = true;
}
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
    part.append(make("svg:rect", { class: "box under", ...box }), make("svg:rect", { class: `box ${what}`, ...box, style: what === "found" && `--box: ${frameColour(example, place)}` }));
    if (what === "wanted") tags.push(tag(classes[label], [left, top, wide, high], example.size, size, "below"));
    if (what === "found") tags.push(tag(`${several && example.versus >= 0 ? `${letters[place]} ` : ""}${classes[label]} ${scoreText(score)}`, [left, top, wide, high], example.size, size, found++ ? "right" : "above"));
  }
  if (tagged) svg.append(...tags.flat());
  return svg;
}
function frameColour(example, place) {
  if (example.side === "errors") return kindOf(example.kind).colour;
  return place % 2 ? "#f29d80" : "#82b2f6";
}
function describe(example) {
  const name = classes[example.label];
  if (example.side === "errors") return `${name} ${scoreText(example.score)}, ${example.kind}: ${example.words}. Image ${example.image}`;
  if (example.side === "missed") return `${name}, ${example.kind}: ${example.words}. Image ${example.image}`;
  if (example.side === "only") return `${name}, found by ${detectors[example.detector].name} with ${scoreText(example.score)}; ${detectors[example.versus].name}: ${example.kind}. Image ${example.image}`;
  return `${name}; ${detectors[example.versus].name}: ${example.before}; ${detectors[example.detector].name}: ${example.kind}. Image ${example.image}`;
}
function caption(example) {
  const name = classes[example.label];
  const kind = (word, place) => make("span", {}, several && letter(place), " ", swatch(kindOf(word).colour), word);
  if (example.side === "errors") return [make("b", {}, `${name} ${scoreText(example.score)} `), kind(example.kind, example.detector), make("div", { class: "quiet" }, example.words)];
  if (example.side === "missed") return [make("b", {}, `${name} `), kind(example.kind, example.detector), make("div", { class: "quiet" }, example.words)];
  if (example.side === "only") return [make("b", {}, `${name} ${scoreText(example.score)} `), make("div", {}, kind("correct", example.detector), " · ", kind(example.kind, example.versus))];
  return [make("b", {}, `${name} `), make("div", {}, kind(example.before, example.versus), " · ", kind(example.kind, example.detector))];
}

// ---- the first screen ---------------------------------------------------------------------------

function drawBar() {
  byId("chips").replaceChildren(...detectors.map((one, place) => {
    const chip = make("button", { type: "button", class: "chip", id: `chip-${place}`, "data-tip": one.name }, letter(place), make("span", { class: "name" }, one.name));
    chip.addEventListener("click", () => {
      const now = new Set(shown());
      if (!now.delete(place)) now.add(place);
      const list = now.size && now.size < detectors.length ? [...now].sort((a, b) => a - b) : [];
      location.hash = address({ d: list.map((n) => letters[n]).join(",") });
    });
    return chip;
  }));
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
  const present = data.objects.filter((number_) => number_ > 0).length;
  byId("facts").append(
    `${plural(facts.images, "image")} · ${present < classes.length ? `objects of ${whole(present)} of ` : ""}${plural(classes.length, "class", "classes")} · ${plural(facts.objects, "object")}`,
    facts.ignored ? `, and ${whole(facts.ignored)} difficult or crowd` : "",
    ` · correct from IoU ${facts.iou}`,
    notes ? " · " : "",
    notes ? make("a", link({ tab: "method", part: "notes" }), plural(notes, "note on the data", "notes on the data")) : "",
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
  const wrong = data.kinds.slice(1);
  const all = detectors.map((one) => one.breakdown.mean_over_classes);
  const missing = detectors.map((_, place) => missedShare(place));
  const missedInterval = (place) => intervalOf(place, "objects", "missed");
  const ends = everyone.flatMap((place) => [missing[place], missedInterval(place)?.high, ...wrong.flatMap((kind) => [all[place][kind.name], intervalOf(place, "share", kind.name)?.high])]);
  const end = highest(ends, 0.01);
  const silent = all.every((one) => one.correct === null);
  const groups = bars(wrong, everyone, (kind) => [swatch(kind.colour), kind.name], (kind, place) => ({
    value: all[place][kind.name], interval: intervalOf(place, "share", kind.name), end, label: kind.name, tip: kind.text, go: toExamples({ kind: kind.name, d: alone(place) }),
  }));
  if (missing.every(known)) {
    groups.push(bars([kindOf("missed")], everyone, (kind) => [swatch(kind.colour), "missed", make("span", { class: "quiet" }, " (of objects)")], (kind, place) => ({
      value: missing[place], interval: missedInterval(place), end, label: "missed objects", tip: kind.text, go: toExamples({ side: "missed", d: alone(place) }),
    })));
  }
  const rows = detectors.flatMap((one, place) => [...["mean_over_classes", "pooled"].map((way) => [
    one.name, way === "pooled" ? "pooled" : "class mean", ...data.kinds.map((kind) => share(one.breakdown[way][kind.name], one.breakdown[way].reason)), share(null),
  ]), [one.name, "per object", ...data.kinds.map(() => share(null)), share(missing[place])]]);
  const note = silent ? "No detection counts, so there is nothing to break down." : "Per cent of the detections counted, class mean; missed: per cent of objects.";
  return chart("What goes wrong", [note, !silent && onScreen(" Click a bar for its pictures.")], groups, ["*detector", "*averaged", ...data.kinds.map((kind) => kind.name), "missed"], rows, "brief");
}

/** The share of objects that no counted detection speaks for. */
function missedShare(place) {
  const pool = data.pools.find((one) => one.side === "missed" && one.detector === place);
  return facts.objects ? pool.totals.reduce((sum, one) => sum + one[3], 0) / facts.objects : null;
}

function precisionCard() {
  const kinds = [AP, "coco"].filter((kind, n, all) => all.indexOf(kind) === n && detectors.some((one) => known(one.map[kind])));
  const groups = bars(kinds, everyone, apName, (kind, place) => ({
    value: detectors[place].map[kind], interval: intervalOf(place, "map", kind), end: 1, label: apName(kind), go: link({ ...NOTHING, tab: "classes", sort: `ap${place}` }),
  }));
  const rows = detectors.map((one, place) => [one.name, ...kinds.flatMap((kind) => [one.map[kind], intervalOf(place, "map", kind)?.low, intervalOf(place, "map", kind)?.high].map((value) => share(value, one.map.reason)))]);
  return chart("Average precision (AP)", kinds.length ? `Per cent, class mean${facts.over ? ` of all classes that have objects; the verdict is${facts.over}` : ""}.` : "No class has objects.", make("div", { class: "side-by-side" }, groups), ["*detector", ...kinds.flatMap((kind) => [apName(kind), "low", "high"])], rows, "brief");
}

function fixCard() {
  const six = data.tide.filter((kind) => kind.name !== "fp" && kind.name !== "fn");
  // Of the same classes as the verdict.
  const numbers = (kind, place) => ({ ...intervalOf(place, facts.over ? "dap_enough_objects" : "dap", kind.name), value: detectors[place].gains[kind.name] });
  const gains = (kind, some) => detectors.filter((one) => some.includes(one.name)).map((one) => one.gains[kind.name]).filter(known);
  // Those of the best detector, as in the verdict; where none is known to be the best, the largest of any.
  const best = data.intervals.find((one) => one.rank === 1);
  const cost = (kind) => (best ? mean(gains(kind, best.runs)) : highest(gains(kind, detectors.map((one) => one.name)), -1));
  const first = sorted(six.filter((kind) => cost(kind) > 0), cost, true).slice(0, 3);
  const blind = detectors.map((one) => classes.filter((_, label) => data.objects[label] >= Math.min(mostObjects, facts.enough) && one.classes[label].ap[AP] === 0));
  const nothing = everyone.filter((place) => blind[place].length).map((place) => `${several ? letters[place] : detectors[place].name} finds no object of ${blind[place].length > 3 ? plural(blind[place].length, "class", "classes") : blind[place].join(", ")}`);
  const caveat = `${nothing.length ? ` ${nothing.join("; ")}: what is missed there has no cost in TIDE.` : ""}${mostObjects < facts.enough ? ` Too few objects to say: no class has ${facts.enough}.` : ""}`;
  const unlike = data.detectors[0].tide.iou !== facts.iou ? `, at IoU ${data.detectors[0].tide.iou}` : "";
  const end = highest(first.flatMap((kind) => detectors.flatMap((_, place) => [numbers(kind, place).value, numbers(kind, place).high])), 0.001);
  const groups = bars(first, everyone, (kind) => kind.label, (kind, place) => ({
    value: numbers(kind, place).value, interval: numbers(kind, place), end, label: kind.label, tip: kind.text, text: points(numbers(kind, place).value), go: tideExamples(kind.name, place),
  }));
  const rows = six.map((kind) => [kind.label, ...detectors.flatMap((_, place) => ["value", "low", "high"].map((part) => change(numbers(kind, place)[part])))]);
  const columns = ["*error", ...detectors.flatMap((one) => [one.name, "low", "high"])];
  return chart("What to fix first", first.length ? `Points of ${apName("coco50")} to gain (TIDE${unlike})${facts.over}${several ? `: ${best ? `${best.name}'s largest first` : "the largest of any of them first"}` : ""}.${caveat}` : `No type of error costs ${several && best ? `${best.name} ` : ""}AP by itself.${caveat}`, groups, columns, rows, "brief");
}
/** The very errors that TIDE counts; of sums of several types there is no such view. */
function tideExamples(name, place) {
  if (name === "fp" || name === "fn") return null;
  return toExamples({ side: name === "miss" ? "missed" : "errors", tide: name, d: alone(place) });
}

function worstCard() {
  const score = (label) => mean(detectors.map((one) => one.classes[label].ap[AP]).filter(known));
  const counted = [...classes.keys()].filter((label) => known(score(label)));
  const enough = counted.filter((label) => data.objects[label] >= facts.enough);
  const worst = (enough.length ? enough : counted).sort((a, b) => score(a) - score(b)).slice(0, 3);
  const cards = worst.map((label) => {
    const name = classes[label];
    // A detector that finds nothing of the class has no error that costs it most.
    const nothing = everyone.filter((place) => detectors[place].classes[label].ap[AP] === 0);
    const [error, cost] = (!nothing.length && data.costliest[label]) || [];
    const most = error && data.tide.find((one) => one.name === error).label;
    const own = examples ? examplesOf[label].filter((one) => one.label === label && !one.beyond) : [];
    const example = own.find((one) => one.tide === error) ?? own.find((one) => one.side === "errors") ?? own[0];
    return make("a", { class: "worst", ...toClass(name) },
      example ? hidden(picture(example, 116, false)) : make("span", {}),
      make("span", {}, make("strong", {}, name),
        make("span", { class: "numbers" }, detectors.map((one, place) => make("span", {}, several && letter(place), ` ${percent(one.classes[label].ap[AP])} %`))),
        make("span", { class: "quiet" }, most ? `mostly ${most}: costs ${percent(cost)}\u00a0points${several ? ` (mean of ${detectors.length > 2 ? "all" : "both"})` : ""} · ` : nothing.length ? `${several ? `${nothing.map((place) => letters[place]).join(", ")}: ` : ""}none found · ` : "", `${plural(data.objects[label], "object")}`)));
  });
  return make("section", { class: "card" }, make("h3", {}, "The three worst classes"), make("p", { class: "note" }, worst.length ? `Lowest ${apName(AP)}${several ? ` (mean of ${detectors.length > 2 ? "all" : "both"})` : ""}, of classes with at least ${enough.length ? facts.enough : 1} ${enough.length ? "objects" : "object"}; of each the error that costs it most ${apName("coco50")} (TIDE).` : "No class has objects."), make("div", { class: "worsts" }, cards));
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
  return (one) => {
    if (!belongs(one)) return false;
    if (one.beyond && !asksBeyond(at)) return false;
    if (at.tide && one.tide !== at.tide) return false;
    if (one.side !== "missed" && one.score < least) return false;
    if (kinds && !kinds.includes(one.kind) && one.side !== "missed") return false;
    if (at.was && one.before !== at.was) return false;
    if (at.as && (one.side === "errors" ? one.label !== taken : !one.frames.some((frame) => frame[4] === "found" && frame[5] === taken))) return false;
    if (at.cell && one.cell !== classes.length) return false;  // on background, or not found, in the matrix
    const about = at.as && one.side === "errors" ? one.cell : one.label;
    return !labels || labels.has(about);
  };
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
  const [one, many, rest] = key === "errors" ? ["error", "errors", asksBeyond(state) ? "" : " among the detections counted"] : missed && !asksBeyond(state) ? ["missed object", "missed objects", ""] : ["object", "objects", ""];
  const what = (number_) => `${number_ === 1 ? one : many}${rest}${state.tide ? " by TIDE's rules" : ""}`;
  const inAll = total ?? list.length;
  const whole_ = list.length === total || !cuts.length;
  if (!list.length) return whole_ ? `There is no such ${what(1)}.` : `None of ${total === null ? "these" : `the ${whole(total)} ${what(total)}`} is among the ${most}, which are all that the page has room for.`;
  if (printing && list.length > ON_PAPER) return `${ON_PAPER} of ${whole(inAll)} ${what(inAll)}, the ${most} first.`;
  if (whole_) return `${list.length === 1 ? "The only" : `All ${whole(list.length)}`} ${what(list.length)}${list.length > 1 ? `, the ${most} first` : ""}.`;
  const cut = highest(cuts.map((pool) => pool.cut), -Infinity);
  const sure = list.filter((example) => example.score > cut || (example.score === cut && !example.extra)).length;
  const others = list.length - sure;
  const ofAll = total === null ? ` ${what(sure)}` : ` of ${whole(total)} ${what(total)}`;
  const below = missed ? `smaller than ${percent(cut)} % of their image` : `of a score below ${scoreText(cut)}`;
  const each = list.slice(sure).some((example) => !example.extra) ? "not all of each detector" : "the first few of each bar, cell and ribbon";
  if (!sure) return `${whole(others)}${total === null ? ` ${what(others)}` : ofAll}, the ${most} first: ${each}. No room in the page for the others ${below}.`;
  return `The ${whole(sure)} ${most}${ofAll}${others ? `, then ${whole(others)} more, ${each}` : ""}. No room in the page for ${others ? "the others" : "those"} ${below}.`;
}

/** What the confusion matrix counts of the state, by another rule than the pictures are chosen. */
function matrixWords(key) {
  const [label, nowhere] = [oneLabel(), classes.length];
  if (label < 0 || shown().length > 1 || state.score || !["errors", "missed"].includes(key)) return "";
  if (!state.as && !state.cell && key === "errors" && state.kind && state.kind !== "background") return "";
  const { cells, score } = detectors[shown()[0]].matrix;
  const cell_ = key === "missed" ? [label, nowhere] : state.as ? [label, classes.indexOf(state.as)] : [nowhere, label];
  const count = cells.find(([row, column]) => row === cell_[0] && column === cell_[1])?.[2] ?? 0;
  const what = key === "missed" ? "not found" : state.as ? `taken for ${state.as}` : "on background";
  const left = state.cell && key === "errors" ? " There each object has one detection at most, the one that overlaps it most; what is left over is on background." : "";
  return ` The confusion matrix has ${whole(count)} ${what}${known(score) ? `: it counts all detections of a score of ${scoreText(score)} or more` : ""}.${left}`;
}

function drawExamples() {
  if (!examples) return [make("p", {}, "This page was made without examples.")];
  const side = currentSide();
  const [key, , belongs] = side;
  const list = chosen();
  const total = numberOf(state, side);
  const ofAll = (pictures, number_) => (number_ > pictures ? `${whole(pictures)} of ${whole(number_)}` : whole(pictures));
  const tokens = [
    ["class", state.class && (state.as ? `truth: ${state.class}` : `class: ${state.class}`), { class: "", as: "" }],
    ["as", state.as && `taken for: ${state.as}`, { as: "" }],
    ["cell", state.cell && (key === "missed" ? "not found in the matrix" : "on background in the matrix"), { cell: "" }],
    ["tide", state.tide && `TIDE: ${data.tide.find((one) => one.name === state.tide)?.label}`, { tide: "" }],
    ["was", state.was && `${letters[pair()[0]]}: ${state.was}`, { was: "" }],
    ["score", state.score && key !== "missed" && `score ≥ ${state.score}`, { score: "" }],
    ["d", state.d && `detectors: ${state.d}`, { d: "" }],
  ].filter(([, text]) => text).map(([, text, clear]) => make("a", { class: "token", ...link(clear), "aria-label": `${text}: remove this filter` }, text, make("span", { "aria-hidden": "true" }, "×")));
  const kinds = key === "errors" ? data.kinds.slice(1) : key === "missed" ? [] : data.fates.slice(1);
  const active = state.kind ? state.kind.split(",") : [];
  const chips = kinds.map(({ name, colour }) => {
    const on = active.includes(name);
    const go = link({ kind: on ? active.filter((one) => one !== name).join(",") : name });
    return make("a", { class: "token", ...go, "aria-current": on && "true", "aria-label": on && `${name}: remove this filter` }, swatch(colour), name, on && make("span", { "aria-hidden": "true" }, "×"));
  });
  const more = make("button", { type: "button", class: "more" }, `Show ${Math.min(SHOWN_AT_ONCE, list.length - visibleExamples)} more`);
  more.addEventListener("click", () => {
    const first = visibleExamples;
    visibleExamples += SHOWN_AT_ONCE;
    drawPanel();
    document.querySelectorAll(".shot")[first]?.focus();
  });
  return [
    make("div", { class: "sides", role: "group", "aria-label": "Which examples" }, sides().map((one) => {
      const go = { side: one[0], was: "", kind: "", cell: "", tide: "" };
      const at = one[0] === key ? state : { ...state, ...go };
      return make("a", { ...link(go), "aria-current": one[0] === key && "true" }, `${one[1]} (${ofAll(chosen(at, one).length, numberOf(at, one))})`);
    })),
    make("div", { class: "tokens" }, chips, tokens),
    make("p", { class: "note", id: "count", role: "status" }, chosenLabels()?.size === 0 ? `No class is called ${state.class}.`
      : `${countWords(key, belongs, list, total)}${matrixWords(key)}${list.length ? " Dashed: the object." : ""}`,
    list.some((one) => one.photo) && list.some((one) => !one.photo) ? " Outlines: no photograph at hand, or no room for more of them." : ""),
    shots(list.slice(0, visibleExamples)),
    list.length > visibleExamples ? more : null,
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
  let list = chosen();
  let place = list.findIndex((one) => one.place === Number(state.pic));
  if (place < 0) [list, place] = [[example], 0];
  const step = (by, words) => {
    const button = make("button", { type: "button" }, words);
    button.disabled = !list[place + by];
    button.addEventListener("click", () => dialog.step(by));
    return button;
  };
  dialog.step = (by) => {
    const next = list[place + by];
    if (next) history.replaceState(null, "", address({ pic: String(next.place) }));
    render();
  };
  const shut = make("button", { type: "button" }, "Close");
  shut.addEventListener("click", () => dialog.close());
  dialog.replaceChildren(
    make("h2", { id: "large-title", tabindex: -1 }, `${classes[example.label]}: ${example.side === "errors" ? example.kind : currentSide()[1]}`),
    picture(example, 900),
    make("p", {}, caption(example), make("span", { class: "quiet" }, `Image ${example.image}`)),
    make("div", { class: "steps" }, step(-1, "← Previous"), make("span", {}, `${place + 1} of ${list.length}`), step(1, "Next →"), shut));
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
  const gap = (label) => {
    if (!several) return [];
    const known_ = entry?.classes[classes[label]]?.ap;
    if (known_ && known(known_[0])) return known_;
    const [before, after] = [a, b].map((place) => detectors[place].classes[label].ap[AP]);
    return known(before) && known(after) ? [after - before] : [];
  };
  const columns = [
    ["name", "class", true, (label) => classes[label]],
    ["objects", "objects", false, (label) => data.objects[label]],
    ["shares", "shares of the detections counted", true, (label) => mean(here.map((place) => detectors[place].classes[label].shares[0]).filter(known))],
    ...here.map((place) => [`ap${place}`, `${apName(AP)}${several ? ` ${letters[place]}` : ""}`, false, (label) => detectors[place].classes[label].ap[AP]]),
    ...(several ? [["gap", `${letters[b]} − ${letters[a]}`, false, (label) => gap(label)[0]]] : []),
    ...here.map((place) => [`best${place}`, `best threshold${several ? ` ${letters[place]}` : ""}`, false, (label) => detectors[place].classes[label].best.score]),
  ];
  const wanted = state.sort.replace("-", "");
  const column = columns.find(([key]) => key === wanted);
  const down = state.sort.startsWith("-");
  const exact = oneLabel();
  let rows = [...classes.keys()];
  const labels = chosenLabels();
  if (labels && exact < 0) rows = rows.filter((label) => labels.has(label));
  const empty = (label) => !data.objects[label] && detectors.every((one) => !one.classes[label].detections);
  const every = rows.length;
  if (!labels && !state.all) rows = rows.filter((label) => !empty(label));
  if (column) rows = sorted(rows, column[3], down);
  const all = labels ? rows.length : every;
  if (!state.all && rows.length > MOST_ROWS) {
    rows = rows.slice(0, MOST_ROWS);
    if (exact >= 0 && !rows.includes(exact)) rows.unshift(exact);
  }
  const cut = printing && rows.length > CLASSES_ON_PAPER && ` Here are ${CLASSES_ON_PAPER} of ${all} classes.`;
  if (cut) rows = rows.slice(0, CLASSES_ON_PAPER);
  const heads = columns.map(([key, text, words]) => make("th", { scope: "col", class: words && "words", "aria-sort": wanted !== key ? "none" : down ? "descending" : "ascending" },
    make("a", link({ sort: wanted === key && !down ? `-${key}` : key }), text)));
  const body = rows.flatMap((label) => {
    const [difference, low, high, clear] = gap(label);
    const open = label === exact;
    const numbers = (place) => detectors[place].classes[label];
    const opens = link({ class: open ? "" : classes[label], as: "" });
    const named = (key, attributes = {}) => ({ "data-label": columns.find(([one]) => one === key)[1], ...attributes });
    const row = make("tr", { class: open ? "opens open" : "opens", id: `class-${label}` },
      make("th", { scope: "row", class: "words" }, make("a", { ...opens, "aria-expanded": String(open) }, classes[label])),
      make("td", named("objects"), whole(data.objects[label])),
      make("td", { class: "words" }, here.map((place) => stackedBar(numbers(place).shares, place, classes[label]))),
      here.map((place) => make("td", named(`ap${place}`), percent(numbers(place).ap[AP]))),
      several && make("td", named("gap", { class: clear ? "gap clear" : "gap" }), points(difference), within(low, high, points)),
      here.map((place) => make("td", named(`best${place}`), known(numbers(place).best.score) ? scoreText(numbers(place).best.score) : ABSENT)));
    row.addEventListener("click", (event) => {
      if (!event.target.closest("a") && !String(getSelection())) row.querySelector("th a").click();
    });
    return open ? [row, make("tr", {}, make("td", { class: "detail", colspan: columns.length }, classDetail(label)))] : [row];
  });
  return [
    make("p", { class: "note" }, `Shares: per cent of the detections counted. ${apName(AP)} in per cent, differences in points${entry ? ` with ${100 * entry.level} % intervals, bold where one leaves out zero and the class has at least ${facts.enough} objects` : ""}. Best threshold: the score of the highest F1.${entry ? aboutAgreed(rows.map(gap)) : ""}`, cut, onScreen(" A class opens its curve, its confusions and its pictures.")),
    legend(data.kinds.map((kind) => [kind.name, kind.colour])),
    make("div", { class: "table-box", role: "region", tabindex: 0, "aria-label": "Classes", style: "max-height: none" },
      make("table", { id: "classes" }, make("caption", { class: "hidden-words" }, "Classes"), make("thead", {}, make("tr", {}, heads)), make("tbody", {}, body))),
    rows.length ? null : make("p", {}, `No class is called ${state.class}.`),
    rows.length < all ? make("a", { class: "more token", style: "width: fit-content", ...link({ all: "1" }) }, `Show all ${whole(all)} classes`) : null,
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

function binTable(label, here) {
  const rows = Object.entries(detectors[here[0]].bins).flatMap(([key, { bins }]) => bins.map((bin, n) => [
    characteristicName(key), binName(bin), number(detectors[here[0]].classes[label].bins[key]?.[n]?.[0]), ...here.map((place) => share(detectors[place].classes[label].bins[key]?.[n]?.[1])),
  ]));
  const columns = ["*characteristic", "*bin", "objects", ...here.map((place) => `APn ${detectors[place].name}`)];
  return rows.length ? behind("Characteristics", columns, rows, "By size, shape and other characteristics") : null;
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
  const parts = [];
  if (pairs.length > 1) parts.push(pairChoice([a, b]));
  if (several && !entry) parts.push(make("p", { class: "full" }, data.comparison.length ? `There are no intervals for ${detectors[a].name} and ${detectors[b].name} by themselves; those of groups are in the tables below.` : "There are no intervals: the command was run without resampling."));
  const drawn = entry ? [entry] : data.comparison;
  if (data.doubt) parts.push(make("p", { class: "note full across" }, data.doubt));
  for (const one of drawn) parts.push(...differences(one));
  if (entry) parts.push(classDifferences(entry, a, b));
  if (several) parts.push(flowChart(a, b));
  parts.push(confidence());
  if (data.intervals.length) parts.push(intervalTable());
  return blocks(parts);
}

/** Which two are compared. */
function pairChoice(now) {
  const select = make("select", { id: "pair" }, pairs.map((two) => make("option", { value: pairKey(two), selected: pairKey(two) === pairKey(now) }, `${two.map((place) => `${letters[place]} ${detectors[place].name}`).join(" and ")}${two === usual && data.intervals.length > 1 ? " (verdict)" : ""}`)));
  select.addEventListener("change", () => {
    history.pushState(null, "", address({ pair: select.value, d: "" }));
    render();
    byId("pair").focus();
  });
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
    const all = Object.entries(entry[section]).map(([name, one]) => {
      const [held, dagger] = data.cover[`${section}/${name}`].difference;
      return { name, label: `${data.quantities[`${section}/${name}`]}${dagger}`, one, held };
    });
    const some = all.filter(({ one }) => known(one.difference)).map(({ label, one }) => ({ ...one, label, middle: one.difference }));
    const rows = all.map(({ label, one, held }) => [label, { ...change(one.difference), title: one.reason }, change(one.low), change(one.high), cell(p(one), one.p), held || ABSENT]);
    return chart(heading, "", some.length ? forest(some) : make("p", {}, without(entry, section, all.map(({ name }) => name))), ["*quantity", "difference", "low", "high", "p", HELD], rows, "");
  });
  return [make("div", { class: "across" }, make("h3", {}, title), make("p", { class: "note" }, note)), ...charts];
}

/** Which of a pair has no number that could be compared. */
function without(entry, section, names) {
  const lacks = [entry.a, entry.b].filter((own) => !names.some((name) => known(data.intervals.find((one) => one.name === own)?.[section]?.[name]?.value)));
  return lacks.length === 2 || !lacks.length ? "Neither has such a number." : `${lacks[0]} has no such number.`;
}

function classDifferences(entry, a, b) {
  const known_ = (key) => Object.entries(entry.classes).filter(([, one]) => known(one[key]?.[0]));
  // A class of three objects differs by chance alone.
  const enough = ([name]) => data.objects[classes.indexOf(name)] >= facts.enough;
  const few = !Object.entries(entry.classes).some((one) => enough(one) && known(one[1].ap?.[0]));
  const of = (key) => sorted(known_(key).filter((one) => few || enough(one)), ([, one]) => Math.abs(one[key][0]), true);
  const made = [["ap", apName("coco50")], ["localization", "localization"]].map(([key, name]) => {
    const some = of(key);
    if (!some.some(([, one]) => percent(one[key][0]) !== "0.0")) return null;
    const rows = some.slice(0, 15).map(([label, { [key]: [middle, low, high, clear] }]) => ({ label, middle, low, high, clear, go: key === "ap" ? toClass(label) : toExamples({ class: label, kind: "localization" }) }));
    return make("div", {}, make("h4", {}, name), forest(rows));
  }).filter(Boolean);
  if (!made.length) return null;
  const rows = () => Object.entries(entry.classes).map(([label, one]) => [label, ...["ap", "localization"].flatMap((key) => [0, 1, 2].map((n) => change(one[key]?.[n])))]);
  const columns = ["*class", ...[apName("coco50"), "localization"].flatMap((name) => [name, "low", "high"])];
  return chart(`${detectors[b].name} − ${detectors[a].name} by class`, `Points; the classes of the largest differences${few ? "" : `, of those with at least ${facts.enough} objects`}.`, make("div", { class: "pair print-few" }, made), columns, rows);
}

/** What became of each object under two detectors. */
function flowChart(a, b) {
  const entry = data.flow.find((one) => one.a === detectors[a].name && one.b === detectors[b].name);
  if (!entry) return make("p", { class: "full" }, `What became of each object is not known of ${detectors[a].name} and ${detectors[b].name}.`);
  const names = data.fates.map((fate) => fate.name);
  const total = entry.objects || 1;
  const title = `What became of each object, from ${entry.a} to ${entry.b}`;
  const svg = plot(330, title, (svg, width, height) => {
    const gap = 10;
    const side = Math.min(150, Math.max(118, width * 0.27));
    const scale = (height - 24 - gap * names.length) / total;
    const ends = ["all", "all"].map((_, right) => {
      let y = 20;
      return names.map((name) => {
        const size = names.reduce((sum, other) => sum + (right ? entry.all[other][name] : entry.all[name][other]), 0);
        const node = { y, size, next: y };
        y += size * scale + gap;
        return node;
      });
    });
    const go = (before, after) => {
      if (before === "correct" && after === "correct") return null;
      if (before === "correct") return toExamples({ side: `only-${letters[a]}`, kind: after, d: state.d });
      if (after === "correct") return toExamples({ side: `only-${letters[b]}`, kind: before, d: state.d });
      return toExamples({ side: "neither", was: before, kind: after, d: state.d });
    };
    names.forEach((before, n) => names.forEach((after, m) => {
      const count = entry.all[before][after];
      if (!count) return;
      const [x0, x1, y0, y1, thick] = [side + 10, width - side - 10, ends[0][n].next, ends[1][m].next, count * scale];
      ends[0][n].next += thick;
      ends[1][m].next += thick;
      const middle = (x0 + x1) / 2;
      const d = `M${x0},${y0}C${middle},${y0} ${middle},${y1} ${x1},${y1}L${x1},${y1 + thick}C${middle},${y1 + thick} ${middle},${y0 + thick} ${x0},${y0 + thick}Z`;
      const said = `${plural(count, "object")}: ${before} under ${entry.a}, ${after} under ${entry.b}`;
      const target = go(before, after);
      const path = make("svg:path", { class: "ribbon", d, style: kindColour(data.fates[m].colour), "data-tip": said });
      svg.append(target ? make("svg:a", { ...target, "aria-label": `${said}. Show examples`, "data-tip": said }, path) : path);
    }));
    [entry.a, entry.b].forEach((who, right) => {
      const x = right ? width - side : side;
      svg.append(make("svg:text", { class: "name", x: right ? width : 0, y: 11, "text-anchor": right ? "end" : "start" }, `${letters[right ? b : a]} ${who.length > side / 6 ? `${who.slice(0, side / 6 - 1)}…` : who}`));
      const labels = new Map();
      let free = 24;  // no label lies on the one above it
      ends[right].forEach((node, n) => {
        if (!node.size) return;
        labels.set(n, Math.max(free, node.y + (node.size * scale) / 2 + 4));
        free = labels.get(n) + 12;
      });
      free = height - 2;
      for (const n of [...labels.keys()].reverse()) {
        labels.set(n, Math.min(free, labels.get(n)));
        free = labels.get(n) - 12;
      }
      ends[right].forEach((node, n) => {
        if (!node.size) return;
        svg.append(
          make("svg:rect", { class: "layer", style: kindColour(data.fates[n].colour), x: right ? x - 10 : x, y: node.y, width: 10, height: Math.max(node.size * scale, 1) }),
          make("svg:text", { class: "name", x: right ? x + 8 : x - 8, y: labels.get(n), "text-anchor": right ? "start" : "end" }, `${names[n]} ${whole(node.size)}`));
      });
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
    const best = label < 0 ? detectors[place].best : detectors[place].classes[label].best;
    const heading = detectorHeading(place);
    if (!all.length || !known(best.f1)) return make("div", {}, heading, make("p", {}, "No object or no detection."));
    const series = [
      { name: "F1", points: all.map(([score, precision, recall]) => [score, 100 * f1(precision, recall)]) },
      { name: "precision", dash: "6 3", points: all.map((point) => [point[0], 100 * point[1]]) },
      { name: "recall", dash: "2 3", points: all.map((point) => [point[0], 100 * point[2]]) },
    ].map((one) => ({ ...one, place }));
    const x = all[all.length - 1][0] <= 1 && all[0][0] >= 0 ? [0, 1] : [all[0][0], all[all.length - 1][0]];
    const mark = known(best.score) && [best.score, 100 * best.f1];
    const words = mark && make("div", { class: "note" }, `Dot: best F1 ${percent(best.f1)} at ${scoreText(best.score)}`);
    return make("div", {}, heading, words, lines(`F1, precision and recall of ${detectors[place].name}`, series, { x, xLabel: "score threshold", mark, rule: least }));
  });
  return chart(`Confidence: ${name}`, "Per cent, counting the detections of at least that score. Solid: F1; dashed: precision; dotted: recall.", make("div", { class: "pair" }, panels), CURVE_COLUMNS, () => curveRows(label));
}

function intervalTable() {
  const entries = data.intervals;
  const keys = Object.entries(data.sections).flatMap(([section, heading]) => Object.keys(entries[0][section] ?? {}).map((name) => [section, name, heading]));
  const show = (one) => cell(!known(one?.value) ? ABSENT : `${percent(one.value)}${within(one.low, one.high)}${known(one.runs_deviation) ? ` ± ${percent(one.runs_deviation)}` : ""}`, one?.value, one?.reason);
  const ends = keys.flatMap(([section, name]) => entries.map((entry) => [entry[section]?.[name]?.value, entry[section]?.[name]?.low]));
  const rows = keys.map(([section, name, heading]) => {
    const [held, dagger] = data.cover[`${section}/${name}`].number;
    return [`${data.quantities[`${section}/${name}`]}${dagger}`, heading, ...entries.map((entry) => show(entry[section]?.[name])), held || ABSENT];
  });
  const grouped = entries.filter((entry) => entry.runs.length > 1);
  const spread = keys.some(([section, name]) => entries.some((entry) => known(entry[section]?.[name]?.runs_deviation)));
  const note = `Per cent, with ${100 * entries[0].level} % intervals: ${whole(entries[0].replicates)} resamples of ${plural(entries[0].images, "image")}.${spread ? " ±: standard deviation between the runs." : ""} ${data.dagger}${aboutAgreed(ends)}`;
  const title = several || grouped.length ? "Each detector's numbers with intervals" : "Numbers with intervals";
  return chart(title, note, [
    grouped.length ? make("ul", {}, grouped.map((entry) => make("li", {}, `${entry.name}: the mean of ${plural(entry.runs.length, "run")}, ${entry.runs.join(", ")}`))) : null,
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
  return sorted([...found.values()], (one) => one.counts.reduce((a, b) => a + b, 0), true);
}
function confusionBars(list, here) {
  const end = highest(list.flatMap((one) => one.counts), 1);
  const label = (one) => `${classes[one.row]} taken for ${classes[one.column]}`;
  return bars(list, here, label, (one, place) => {
    const value = one.counts[here.indexOf(place)];
    return { value, end, text: whole(value), label: label(one), go: value > 0 && toExamples({ class: classes[one.row], as: classes[one.column], d: alone(place) }) };
  });
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
  const name = (label, last) => (label === nowhere ? last : classes[label]);
  const body = [...labels, nowhere].map((row) => make("tr", {}, make("th", { scope: "row", title: name(row, "background") }, name(row, "background")), [...labels, nowhere].map((column) => {
    const count = counts.get(row * (nowhere + 1) + column) ?? 0;
    if (!count) return make("td");
    const said = `${name(row, "background")} ${column === nowhere ? "not found" : row === nowhere ? `called ${classes[column]}` : `taken for ${classes[column]}`}: ${whole(count)}`;
    if (row === column) return make("td", { class: "right", "data-tip": `${classes[row]} found: ${whole(count)}` }, whole(count));
    const d = alone(place);
    const go = column === nowhere ? toExamples({ side: "missed", class: classes[row], cell: "1", d })
      : row === nowhere ? toExamples({ class: classes[column], cell: "1", d })
        : toExamples({ class: classes[row], as: classes[column], d });
    const style = `--heat: ${Math.round(6 + (50 * count) / (totals[row] || 1))}%`;
    if (!go) return make("td", { class: "plain", style, "data-tip": said, title: said }, whole(count));
    return make("td", {}, make("a", { ...go, tabindex: -1, style, "data-tip": said, "aria-label": `${said}. Show examples` }, whole(count)));
  })));
  const grid = make("table", {}, make("caption", { class: "hidden-words" }, "Rows: truth. Columns: what it was taken for."), make("thead", {}, make("tr", {}, make("td", {}), [...labels, nowhere].map((label) => make("th", { scope: "col", title: name(label, "not found") }, make("span", {}, name(label, "not found")))))), make("tbody", {}, body));
  grid.querySelector("td a")?.setAttribute("tabindex", "0");
  grid.addEventListener("keydown", (event) => moveInGrid(grid, event));
  const choice = here.length > 1 && make("div", { class: "sides", role: "group", "aria-label": "Matrix of" }, here.map((one) => make("a", { ...link({ of: letters[one] }), "aria-current": one === place && "true" }, letter(one), ` ${detectors[one].name}`)));
  const fewer = labels.length < classes.length;
  const note = [
    `Rows: truth; columns: what it was taken for${known(score) ? `, at scores of ${scoreText(score)} and more (highest F1)` : ""}.${fewer ? ` ${whole(most.length)} of ${whole(classes.length)} classes: ${most.length < facts.matrix ? "those" : "the ones"} with ${most.length < facts.matrix ? "" : "the most "}confusions.` : ""}`,
    onScreen(` Arrow keys walk.${fewer ? " Search for a class to add it." : ""}${grid.querySelector(".plain") ? " A number without a link has no picture in this page." : ""}`),
  ];
  const rows = () => cells.map(([row, column, count]) => [name(row, "background"), name(column, "not found"), number(count)]);
  return chart(`Which class is taken for which: ${detectors[place].name}`, note, [choice || null, make("div", { class: "matrix", role: "region", tabindex: 0, "aria-label": "Confusion matrix" }, grid)].filter(Boolean), ["*truth", "*taken for", "number"], rows, labels.length > 12 ? "full across" : "full");
}
/** Arrow keys move to the next cell with a link. */
function moveInGrid(grid, event) {
  const [down, right] = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key] ?? [];
  if (down === undefined || !event.target.closest("td")) return;
  event.preventDefault();
  let [row, column] = [event.target.closest("tr").rowIndex, event.target.closest("td").cellIndex];
  for (;;) {
    const next = grid.rows[(row += down)]?.cells[(column += right)];
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
  if (!data.impact.length) return chart("What each error type costs (Hoiem)", "No class has objects.", null);
  const here = shown();
  const [first] = data.impact;
  const end = highest(first.rows.flatMap((row) => here.map((place) => row.values[place])), 0.001);
  const groups = bars(first.rows, here, (row) => [row.kind && swatch(kindOf(row.kind).colour), row.label].filter(Boolean), (row, place) => ({
    value: row.values[place], end, text: points(row.values[place]), tip: row.text, label: row.label, go: row.opens && toExamples({ kind: row.opens, d: alone(place) }),
  }));
  const rows = () => data.impact.flatMap(({ name, rows: all }) => all.map((row) => [row.label, name, ...here.map((place) => change(row.values[place])), row.text]));
  return chart("What each error type costs (Hoiem)", `Points of ${first.name} gained if one error type were fixed, class mean of ${first.classes}; a class that would lose counts as 0. Background includes other unless it is called pure. Gains overlap and do not add up.`, groups, ["*fixed", "*gain in", ...here.map((place) => detectors[place].name), "*what it is"], rows, "screen");
}

function tideChart() {
  const here = shown();
  const end = highest(data.tide.flatMap((kind) => here.map((place) => detectors[place].tide.dap[kind.name])), 0.001);
  const groups = bars(data.tide, here, (kind) => [swatch(kind.colour), kind.label], (kind, place) => ({
    value: detectors[place].tide.dap[kind.name], end, text: points(detectors[place].tide.dap[kind.name]), tip: kind.text, label: kind.label, go: tideExamples(kind.name, place),
  }));
  const rows = data.tide.map((kind) => [kind.label, kind.text, ...here.flatMap((place) => [change(detectors[place].tide.dap[kind.name]), number(detectors[place].tide.counts[kind.name])])]);
  const base = here.map((place) => `${several ? `${letters[place]} ` : ""}${percent(detectors[place].tide[`ap${100 * detectors[place].tide.iou}`])} %`).join(", ");
  return chart("What each error type costs (TIDE)", [`Points of AP at an IoU of ${detectors[here[0]].tide.iou} (dAP)${facts.over && ", class mean of all classes"}, each error fixed on its own; they do not add up. AP: ${base}.`, onScreen(" A bar leads to its errors; sums of several have no pictures of their own.")], groups, ["*error", "*what it is", ...here.flatMap((place) => [`dAP ${letters[place]}`, `number ${letters[place]}`])], rows, "");
}

/** Shares by group of similar classes. */
function groupChart() {
  const groups = Object.entries(data.groups);
  if (!groups.length) return chart("Groups of similar classes", "No classes are similar here.", null);
  const here = shown();
  const shares = (members, place) => data.kinds.map((_, n) => mean(members.map((name) => detectors[place].classes[classes.indexOf(name)].shares[n]).filter(known)));
  const body = groups.slice(0, MOST_ROWS).map(([name, members]) => group(name, here.map((place) => stackedBar(shares(members, place), place, name)), members.length < MOST_ROWS && members.join(", ")));
  const rows = groups.flatMap(([name, members]) => here.map((place) => [name, detectors[place].name, ...shares(members, place).map((value) => share(value)), members.length < 30 ? members.join(", ") : plural(members.length, "class", "classes")]));
  return chart("Groups of similar classes", "Shares of the detections counted, class mean within each group of similar classes.", [legend(data.kinds.map((kind) => [kind.name, kind.colour])), body].flat(), ["*group", "*detector", ...data.kinds.map((kind) => kind.name), "*classes"], rows);
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
  const note = all.length ? `APn, per cent: class mean of the classes with at least ${facts.fewest} objects in the bin; these differ from bin to bin.` : "No bin has enough objects.";
  return chart("Size, shape and other characteristics", note, all.length ? [detectorLegend(), make("div", { class: "panels" }, panels)].filter(Boolean) : null, all.length && ["*characteristic", "*bin", "objects", ...here.map((place) => `APn ${detectors[place].name}`)], rows);
}

function sensitivity() {
  const here = shown();
  const rows = here.flatMap((place) => Object.entries(detectors[place].sensitivity).map(([key, one]) => [characteristicName(key), detectors[place].name, ...["overall", "lowest", "highest", "sensitivity", "impact"].map((name) => share(one[name], one.reason)), number(one.classes)]));
  if (!rows.length) return null;
  return chart("Sensitivity", "APn of the worst and the best bin, class mean. Sensitivity: best minus worst; impact: best minus overall.", table(["*characteristic", "*detector", "overall", "worst bin", "best bin", "sensitivity", "impact", "classes"], rows, "Sensitivity"), null, null, "full screen");
}

/** The error mix down the ranking. */
function ranks() {
  const one = (title, note, key, place_, kinds, xLabel, rest, look) => {
    const trends = shown().map((place) => [place, Object.values(detectors[place].trends)[0][key].filter((row) => known(row[kinds[0].name]))]).filter(([, rows]) => rows.length);
    if (!trends.length) return chart(title, "No such detection.", null);
    const panels = trends.map(([place, rows]) => make("div", {}, detectorHeading(place), layers(`${title}: ${detectors[place].name}`, rows.map(place_), kinds, rows, xLabel)));
    const table_ = () => trends.flatMap(([place, rows]) => rows.map((row) => [detectors[place].name, place_(row), number(row.n), ...kinds.map((kind) => share(row[kind.name])), ...rest.map((name) => share(row[name]))]));
    return chart(title, note, [legend(kinds.map((kind) => [kind.name, kind.colour])), make("div", { class: "pair" }, panels)], ["*detector", `*${xLabel}`, "number", ...kinds.map((kind) => kind.name), ...rest.map((name) => name.replace("_weak", " at IoU 0.1"))], table_, look);
  };
  const first = one("Error mix by rank", "Shares of the top detections; N is the number of a class's objects.", "detections", (row) => `${Number(row.factor.toFixed(3))} N`, data.kinds, "detections of each class", ["recall", "recall_weak"], "full");
  const second = one("False positives by rank", "Shares of the first false positives.", "false_positives", (row) => whole(row.wanted), data.kinds.slice(1), "false positives, all classes together", [], "full screen");
  return [first, second];
}

function calibration() {
  const here = shown();
  const some = here.filter((place) => detectors[place].calibration.bins.some((bin) => known(bin.precision)));
  if (!some.length) return chart("Can the scores be believed?", detectors[here[0]].calibration.reason ?? "No detection to count.", null);
  const series = some.map((place) => ({ name: detectors[place].name, place, points: detectors[place].calibration.bins.filter((bin) => known(bin.precision)).map((bin) => [100 * bin.score, 100 * bin.precision]) }));
  const words = some.map((place) => `${several ? `${letters[place]} ` : ""}${percent(detectors[place].calibration.expected_error)} %`).join(", ");
  const rows = () => some.flatMap((place) => detectors[place].calibration.bins.map((bin) => [detectors[place].name, cell(`${bin.low.toFixed(1)} to ${bin.high.toFixed(1)}`, bin.low), number(bin.detections), share(bin.score), share(bin.precision)]));
  return chart("Can the scores be believed?", `Share of true positives over the score. Below the diagonal the detector is overconfident. Expected calibration error: ${words}.`, [detectorLegend(), lines("Precision over score", series, { x: [0, 100], xLabel: "score, %", diagonal: true })].filter(Boolean), ["*detector", "*score", "detections", "mean score", "precision"], rows);
}

// ---- Method -------------------------------------------------------------------------------------

function drawMethod() {
  const scores = detectors.filter((one) => Object.keys(one.coco).length > 2);
  const list = (pairs, name) => make("dl", { class: name }, pairs.map(([key, words]) => make("div", {}, make("dt", {}, key), make("dd", {}, words))));
  const scenes = [["10,14,46,30", "14,12,46,30"], ["6,16,40,28", "34,22,40,28"], ["10,14,46,30", "16,10,46,30"], ["10,14,46,30", "16,10,46,30"], ["6,20,26,22", "54,14,32,36"]];
  const box = (text, name) => {
    const [x, y, width, height] = text.split(",");
    return make("svg:rect", { class: `box ${name}`, x, y, width, height });
  };
  const kinds = data.kinds.map((kind, n) => make("div", { class: "kind" },
    make("svg:svg", { class: "picture", viewBox: "0 0 96 60", "aria-hidden": "true" }, ...["under", "wanted"].map((name) => box(scenes[n]?.[0] ?? scenes[0][0], name)), make("svg:rect", { class: "box found", style: `--box: ${kind.colour}`, ...Object.fromEntries((scenes[n]?.[1] ?? scenes[0][1]).split(",").map((value, m) => [["x", "y", "width", "height"][m], value])) })),
    make("div", {}, make("b", {}, swatch(kind.colour), kind.name), make("div", {}, kind.text))));
  const origin = [...flat(data.origin, "")];
  return blocks([
    make("section", { class: "card full across" }, make("h3", {}, "The types of detections"), make("p", { class: "note" }, "Dashed: an annotated object. Coloured: a detection."), make("div", { class: "kinds" }, kinds)),
    make("section", { class: "card full across" }, make("h3", {}, "The variants of average precision (AP)"), make("p", { class: "note" }, "Per cent, class mean."),
      table(["*AP", "*what it is", ...detectors.map((one) => one.name)], Object.entries(data.ap).map(([kind, { name, text }]) => [name, text, ...detectors.map((one) => share(one.map[kind], one.map.reason))]), "The variants of AP"),
      scores.length ? [make("h4", { style: "margin-top: 12px" }, "COCO's scores"), table(["*detector", ...data.cocoHeadings], scores.map((one) => [one.name, ...Object.entries(one.coco).filter(([key]) => key !== "reason").map(([, value]) => share(value, one.coco.reason))]), "COCO's scores")] : null),
    make("section", { class: "card full" }, make("h3", {}, "The detectors"),
      table(["*detector", "detections", "counted", "images with a detection"], detectors.map((one) => [one.name, number(one.detections), number(one.counted), number(one.images)]), "Detectors")),
    data.notes.length ? make("section", { class: "card full", id: "notes", tabindex: -1 }, make("h3", {}, "Notes on the data"), make("ul", {}, data.notes.map((one) => make("li", {}, one)))) : null,
    make("section", { class: "card full across" }, make("h3", {}, "What is counted, and why numbers differ"), list(data.rules, "rules")),
    make("section", { class: "card full across", id: "origin" }, make("h3", {}, "Where this comes from"), list(origin, "origin")),
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
  const again = (back || (focused && inside && before.tab === state.tab)) && [...document.querySelectorAll("#panel [data-go], #answer [data-go]")].find((one) => one.dataset.go === (back || focused) && (back || byId("panel").contains(one)));
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
  for (const [one, height] of [...columns.children].map((child) => [child, child.matches(".screen") ? 0 : child.offsetHeight])) {
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
