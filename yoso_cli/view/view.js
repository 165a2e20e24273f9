"use strict";

// Filters and sorts columns that are here already, shows the cells that are on the screen, and colours label maps by
// itself. Text from data enters the page as text, never as markup.

const THUMB = 320, LARGE = 1280;
const GAP = 10, CAPTION = 42, NARROW = 520;
// Answers kept, and rows of the table of segments.
const MOST_KEPT = 400, MOST_ROWS = 200;
const PAINT = 150, ERROR = 205, OUTLINE = 235, VOID = [60, 60, 64, 110];
const STRIPE = 2; // pixels as a power of two

const one = (id) => document.getElementById(id);
const make = (name, kind, text) => {
  const element = document.createElement(name);
  if (kind) element.className = kind;
  if (text !== undefined) element.textContent = text;
  return element;
};
const count = (number, noun) => `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
const rgb = (color) => `rgb(${color.join(" ")})`;

// Where things come from: a server, or this file itself.
const inside = one("data");
const held = inside ? JSON.parse(inside.textContent) : null;
const fetched = async (name, signal) => {
  const answer = await fetch(name, { signal, cache: "no-store" });
  if (!answer.ok) throw Object.assign(new Error(await answer.text()), { told: true });
  return answer.json();
};
const kept = new Map();
const source = held
  ? {
      index: async () => held,
      photo: (at) => held.pictures[at].photo,
      maps: async (at) => held.pictures[at].maps,
    }
  : {
      index: () => fetched("index.json"),
      photo: (at, edge) => `photo/${edge}/${at}`,
      maps: async (at, edge, signal) => {
        const name = `maps/${edge}/${at}`;
        const found = kept.get(name) ?? (await fetched(name, signal));
        kept.delete(name);
        kept.set(name, found);
        if (kept.size > MOST_KEPT) kept.delete(kept.keys().next().value);
        return found;
      },
    };

let index = null;
let shown = []; // places in the columns, in the order of the grid
let current = null;
const hidden = new Set();
const state = { view: "truth", file: "", class: "", size: "", least: "", most: "", kind: "", score: "", sort: "order" };
const usual = { ...state };
const FIELDS = ["file", "class", "size", "least", "most", "kind", "score", "sort"];

// Filter and sort.
const SORTS = {
  order: ["as listed", () => 0],
  name: ["name", (a, b) => (index.files[a] < index.files[b] ? -1 : 1)],
  lost: ["PQ lost, most first", (a, b) => index.lost[b] - index.lost[a]],
  lowest: ["lowest score", (a, b) => (index.lowest[a] ?? 2) - (index.lowest[b] ?? 2)],
  segments: ["segments, most first", (a, b) => index.segments[b] - index.segments[a]],
  pixels: ["size of the picture, largest first", (a, b) => pixels(b) - pixels(a)],
};
const pixels = (at) => index.widths[at] * index.heights[at];

const fits = (at) => {
  if (state.file && !index.files[at].toLowerCase().includes(state.file.toLowerCase())) return false;
  if (state.least !== "" && index.segments[at] < Number(state.least)) return false;
  if (state.most !== "" && index.segments[at] > Number(state.most)) return false;
  if (state.score !== "" && !(index.lowest && index.lowest[at] !== null && index.lowest[at] <= Number(state.score)))
    return false;
  if (state.class === "" && state.size === "" && state.kind === "") return true;
  const rows = index.classes[at];
  let wrong = false;
  let found = false;
  for (let row = 0; row < rows.length; row += 3) {
    if (state.class !== "" && rows[row] !== Number(state.class)) continue;
    if (state.size !== "" && !(rows[row + 1] & (1 << Number(state.size)))) continue;
    const kinds = rows[row + 2];
    wrong ||= kinds !== 0;
    found ||= state.kind === "" || state.kind === "none" || Boolean(state.kind === "some" ? kinds : kinds & (1 << Number(state.kind)));
  }
  if (state.kind === "none") return !wrong && (found || (state.class === "" && state.size === ""));
  return found;
};

const choose = () => {
  const all = index.files.map((_, at) => at);
  shown = all.filter(fits);
  if (state.sort !== "order") shown.sort((a, b) => SORTS[state.sort][1](a, b) || a - b);
  const whole = index.total ?? all.length;
  const part = index.total && index.total > all.length ? ` (${count(whole, "picture")} are in the set)` : "";
  one("count").textContent = `${shown.length.toLocaleString("en")} of ${count(all.length, "picture")}${part}`;
  one("message").textContent = shown.length ? "" : "No picture fits.";
};

// Label maps.
const decoded = (side) => {
  const bytes = Uint8Array.from(atob(side.runs), (letter) => letter.charCodeAt(0));
  const runs = new Uint16Array(bytes.buffer);
  const map = new Uint16Array(side.size[0] * side.size[1]);
  for (let run = 0, at = 0; run < runs.length; run += 2) map.fill(runs[run], at, (at += runs[run + 1]));
  return map;
};

const paintSide = (image, side, map) => {
  const [height, width] = side.size;
  const colors = [VOID];
  const edges = [null];
  const crowds = [false];
  for (const [category, , crowd] of side.segments) {
    const known = index.categories[category];
    const off = hidden.has(category);
    colors.push(off ? [0, 0, 0, 0] : [...known.color, PAINT]);
    edges.push(off ? null : known.thing ? [255, 255, 255, OUTLINE] : [0, 0, 0, 130]);
    crowds.push(Boolean(crowd));
  }
  const data = image.data;
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, at += 1) {
      const value = map[at];
      const border = edges[value] && ((x > 0 && map[at - 1] !== value) || (y > 0 && map[at - width] !== value));
      const color = border ? edges[value] : colors[value];
      data[4 * at] = color[0];
      data[4 * at + 1] = color[1];
      data[4 * at + 2] = color[2];
      data[4 * at + 3] = crowds[value] && !border && ((x + y) >> STRIPE) & 1 ? color[3] >> 2 : color[3];
    }
  }
};

const paintErrors = (image, maps, truth, prediction) => {
  const [height, width] = maps.truth.size;
  const [rows, columns] = maps.shape;
  const off = (side) => [...side.segments.map(([category]) => hidden.has(category)), true];
  const offTrue = off(maps.truth);
  const offPredicted = off(maps.prediction);
  const data = image.data;
  for (let y = 0, at = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1, at += 1) {
      const t = truth[at] ? truth[at] - 1 : rows - 1;
      const p = prediction[at] ? prediction[at] - 1 : columns - 1;
      if (hidden.size && offTrue[t] && offPredicted[p]) continue;
      const second = ((x + y) >> STRIPE) & 1;
      const kind = maps.kinds[(second * rows + t) * columns + p];
      if (!kind) continue;
      const color = index.errors[kind - 1].color;
      data[4 * at] = color[0];
      data[4 * at + 1] = color[1];
      data[4 * at + 2] = color[2];
      data[4 * at + 3] = ERROR;
    }
  }
};

const paint = (canvas, maps) => {
  const side = maps[state.view === "errors" ? "truth" : state.view];
  if (!side || (state.view === "errors" && !maps.kinds)) {
    canvas.width = canvas.width; // clears it
    return;
  }
  [canvas.height, canvas.width] = side.size;
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  if (state.view === "errors") paintErrors(image, maps, decoded(maps.truth), decoded(maps.prediction));
  else paintSide(image, side, decoded(side));
  context.putImageData(image, 0, 0);
};

const dress = (stage) => {
  stage.classList.toggle("errors", state.view === "errors");
  stage.classList.toggle("photo", state.view === "photo");
};

// A photo with its labels over it: fills `stage`, and gives the maps once they are there.
const fill = async (stage, at, edge, signal) => {
  const photo = make("img");
  photo.alt = "";
  photo.decoding = "async";
  photo.src = source.photo(at, edge);
  const canvas = make("canvas");
  stage.replaceChildren(photo, canvas);
  dress(stage);
  if (state.view === "photo" && edge === THUMB) return null;
  const maps = await source.maps(at, edge, signal);
  if (signal.aborted) return null;
  paint(canvas, maps);
  const why = maps.problem || maps.photo;
  if (why && edge === THUMB) stage.append(make("p", "why", why));
  return maps;
};

// The grid: only the cells on the screen are there.
const grid = one("grid");
const cells = new Map();
let layout = { whole: 0, columns: 1, width: 0, height: 0 };

const measure = () => {
  const whole = grid.clientWidth;
  const least = whole < NARROW ? 150 : 220;
  const columns = Math.max(1, Math.floor((whole + GAP) / (least + GAP)));
  const width = (whole - GAP * (columns - 1)) / columns;
  layout = { whole, columns, width, height: Math.round(width * 0.75) + CAPTION };
  const rows = Math.ceil(shown.length / columns);
  grid.style.height = `${Math.max(0, rows * (layout.height + GAP) - GAP)}px`;
};

const caption = (at) => {
  const parts = [count(index.segments[at], "segment")];
  if (index.lost) parts.push(`−${index.lost[at].toFixed(2)} PQ`);
  if (index.lowest && index.lowest[at] !== null) parts.push(`lowest ${index.lowest[at].toFixed(2)}`);
  return parts.join(" · ");
};

const failed = (stage, error) => {
  if (error.name === "AbortError") return;
  const silent = "The server has not answered: is `yoso view` still running?";
  stage.append(make("p", "why", error.told ? error.message : silent));
};

const addCell = (slot) => {
  const at = shown[slot];
  const cell = make("button", "cell");
  cell.type = "button";
  cell.dataset.place = index.places[at];
  const stage = make("span", "stage");
  const text = make("span", "caption");
  text.append(make("b", "", index.files[at]), make("span", "", caption(at)));
  cell.append(stage, text);
  cell.setAttribute("aria-label", `${index.files[at]}, ${caption(at)}`);
  cell.addEventListener("click", () => enlarge(at));
  const row = Math.floor(slot / layout.columns);
  const column = slot % layout.columns;
  cell.style.left = `${column * (layout.width + GAP)}px`;
  cell.style.top = `${row * (layout.height + GAP)}px`;
  cell.style.width = `${layout.width}px`;
  cell.style.height = `${layout.height}px`;
  const stop = new AbortController();
  fill(stage, at, THUMB, stop.signal).catch((error) => failed(stage, error));
  grid.append(cell);
  cells.set(slot, { cell, stop });
};

const removeCell = (slot) => {
  const { cell, stop } = cells.get(slot);
  stop.abort();
  cell.querySelector("img").removeAttribute("src");
  cell.remove();
  cells.delete(slot);
};

const render = () => {
  const top = -grid.getBoundingClientRect().top;
  const pitch = layout.height + GAP;
  const first = Math.max(0, Math.floor(top / pitch) - 1) * layout.columns;
  const last = Math.min(shown.length, (Math.ceil((top + innerHeight) / pitch) + 1) * layout.columns);
  for (const slot of [...cells.keys()]) if (slot < first || slot >= last) removeCell(slot);
  for (let slot = first; slot < last; slot += 1) if (!cells.has(slot)) addCell(slot);
};

const refresh = () => {
  for (const slot of [...cells.keys()]) removeCell(slot);
  measure();
  render();
};

// One picture alone.
const dialog = one("large");
let loading = new AbortController();
let currentMaps = null;

const enlarge = async (at) => {
  current = at;
  remember();
  loading.abort();
  loading = new AbortController();
  currentMaps = null;
  const parts = [`${(shown.indexOf(at) + 1).toLocaleString("en")} of ${shown.length.toLocaleString("en")}`];
  parts.push(`${index.widths[at]}×${index.heights[at]}`, caption(at));
  one("large-title").replaceChildren(make("bdi", "", index.files[at]), make("small", "", ` ${parts.join(" · ")}`));
  one("under").textContent = "";
  one("problem").hidden = true;
  one("segments").tBodies[0].replaceChildren();
  if (!dialog.open) dialog.showModal();
  try {
    const maps = await fill(one("stage"), at, LARGE, loading.signal);
    if (!maps) return;
    one("stage").classList.toggle("coarse", (maps.truth?.size[1] ?? LARGE) * 2 < one("stage").clientWidth);
    currentMaps = { ...maps, sides: {} };
    for (const name of ["truth", "prediction"]) if (maps[name]) currentMaps.sides[name] = decoded(maps[name]);
    one("problem").textContent = [maps.problem, maps.photo].filter(Boolean).join(" ");
    one("problem").hidden = !one("problem").textContent;
    list(maps);
  } catch (error) {
    failed(one("stage"), error);
  }
};

const list = (maps) => {
  const rows = [];
  for (const name of ["truth", "prediction"])
    for (const segment of maps[name]?.segments ?? []) rows.push([name, segment]);
  rows.sort((a, b) => b[1][1] - a[1][1]);
  const body = one("segments").tBodies[0];
  body.replaceChildren(
    ...rows.slice(0, MOST_ROWS).map(([name, [category, area, crowd, score, cause]]) => {
      const row = make("tr");
      const head = make("th");
      const button = toggle(category);
      if (crowd) button.append(" (crowd)");
      head.append(button);
      const wrong = cause >= 0 ? index.errors[cause].name : "";
      row.append(head, make("td", "of", name), make("td", "n", area.toLocaleString("en")));
      row.append(make("td", "n of", score === null || score === undefined ? "" : score.toFixed(2)), make("td", "of", wrong));
      return row;
    }),
  );
  if (rows.length > MOST_ROWS) {
    const more = make("td", "", `and ${rows.length - MOST_ROWS} more`);
    more.colSpan = 5;
    const row = make("tr");
    row.append(more);
    body.append(row);
  }
};

const step = (by) => {
  if (!shown.length) return;
  const slot = shown.indexOf(current);
  const next = slot < 0 ? 0 : (slot + by + shown.length) % shown.length;
  enlarge(shown[next]);
};

// What lies under the pointer.
const told = (name, value) => {
  if (!value) return `${name}: nothing`;
  const [category, area, crowd, score, cause] = currentMaps[name].segments[value - 1];
  const parts = [`${name}: ${index.categories[category].name}${crowd ? " (crowd)" : ""}`, `${area.toLocaleString("en")} px`];
  if (score !== null && score !== undefined) parts.push(score.toFixed(2));
  if (cause >= 0) parts.push(index.errors[cause].name);
  return parts.join(", ");
};
const point = (event) => {
  if (!currentMaps) return;
  const box = one("stage").getBoundingClientRect();
  const lines = [];
  for (const [name, map] of Object.entries(currentMaps.sides)) {
    const [height, width] = currentMaps[name].size;
    const scale = Math.min(box.width / width, box.height / height);
    const x = Math.floor((event.clientX - box.left - (box.width - width * scale) / 2) / scale);
    const y = Math.floor((event.clientY - box.top - (box.height - height * scale) / 2) / scale);
    if (x >= 0 && y >= 0 && x < width && y < height) lines.push(told(name, map[y * width + x]));
  }
  one("under").textContent = lines.join("  ·  ");
};

// Controls.
const press = (buttons, chosen) =>
  buttons.forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.view === chosen)));

const show = (view) => {
  if (!index.views.includes(view)) return;
  state.view = view;
  press([...one("views").children, ...one("large-views").children], view);
  one("legend").hidden = view !== "errors";
  remember();
  refresh();
  if (dialog.open) enlarge(current);
};

const toggle = (category) => {
  const known = index.categories[category];
  const button = make("button", "chip");
  button.type = "button";
  button.dataset.category = category;
  const dot = make("span", "dot");
  dot.style.background = rgb(known.color);
  button.append(dot, known.name);
  button.setAttribute("aria-pressed", String(!hidden.has(category)));
  button.title = "show or hide this class";
  button.addEventListener("click", () => {
    if (!hidden.delete(category)) hidden.add(category);
    recolor();
  });
  return button;
};

const recolor = () => {
  for (const button of document.querySelectorAll("[data-category]"))
    button.setAttribute("aria-pressed", String(!hidden.has(Number(button.dataset.category))));
  remember();
  refresh();
  if (dialog.open && currentMaps) paint(one("stage").querySelector("canvas"), currentMaps);
};

// The address says what is shown, so that it can be linked to.
const remember = () => {
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) if (value !== usual[name]) words.set(name, value);
  if (hidden.size) words.set("hide", [...hidden].join("."));
  if (current !== null) words.set("picture", index.places[current]);
  history.replaceState(null, "", `${words}` ? `#${words}` : location.pathname + location.search);
};

const recall = () => {
  const words = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(state)) state[name] = words.get(name) ?? usual[name];
  for (const name of ["least", "most", "score"]) if (!Number.isFinite(Number(state[name]))) state[name] = "";
  if (!index.views.includes(state.view)) state.view = usual.view;
  if (!one("sort").querySelector(`option[value="${CSS.escape(state.sort)}"]`)) state.sort = "order";
  hidden.clear();
  for (const part of (words.get("hide") ?? "").split("."))
    if (part !== "" && index.categories[Number(part)]) hidden.add(Number(part));
  for (const name of FIELDS) one(name).value = state[name];
  // What no option has is no choice.
  for (const name of ["class", "size", "kind"]) if (one(name).value !== state[name]) one(name).value = state[name] = "";
  press([...one("views").children, ...one("large-views").children], state.view);
  one("legend").hidden = state.view !== "errors";
  one("chips").replaceChildren(...index.categories.map((_, place) => toggle(place)));
  choose();
  refresh();
  const wanted = words.has("picture") ? index.places.indexOf(Number(words.get("picture"))) : -1;
  if (wanted >= 0) enlarge(wanted);
  else if (dialog.open) dialog.close();
};

const options = (select, texts) => texts.forEach(([value, text]) => select.append(new Option(text, value)));

const begin = () => {
  one("subtitle").textContent = index.subtitle;
  document.body.classList.toggle("alone", !index.views.includes("prediction"));
  for (const id of ["views", "large-views"]) {
    for (const view of index.views) {
      const button = make("button", "", view);
      button.type = "button";
      button.dataset.view = view;
      button.addEventListener("click", () => show(view));
      one(id).append(button);
    }
  }
  usual.view = index.views.includes("errors") ? "errors" : "truth";
  const present = new Set(index.classes.flatMap((rows) => rows.filter((_, place) => place % 3 === 0)));
  const named = [...present].map((place) => [place, index.categories[place].name]);
  options(one("class"), named.sort((a, b) => (a[1] < b[1] ? -1 : 1)));
  options(one("size"), index.sizes.map((name, place) => [place, name]));
  options(one("kind"), [["some", "any error"], ["none", "no error"], ...index.kinds.map((name, place) => [place, name])]);
  one("kind-field").hidden = !index.kinds.length;
  one("score-field").hidden = !index.lowest;
  const sorts = Object.keys(SORTS).filter((name) => (name !== "lost" || index.lost) && (name !== "lowest" || index.lowest));
  options(one("sort"), sorts.map((name) => [name, SORTS[name][0]]));
  for (const { name, color } of index.views.includes("errors") ? index.errors : []) {
    const line = make("li");
    const swatch = make("span", "swatch");
    swatch.style.background = rgb(color);
    line.append(swatch, name);
    one("legend").append(line);
  }
  for (const name of FIELDS) {
    one(name).addEventListener("input", () => {
      state[name] = one(name).value;
      remember();
      choose();
      refresh();
    });
  }
  one("reset").addEventListener("click", () => {
    for (const name of FIELDS) one(name).value = state[name] = usual[name];
    remember();
    choose();
    refresh();
  });
  one("all-on").addEventListener("click", () => {
    hidden.clear();
    recolor();
  });
  one("all-off").addEventListener("click", () => {
    index.categories.forEach((_, place) => hidden.add(place));
    recolor();
  });
  one("previous").addEventListener("click", () => step(-1));
  one("next").addEventListener("click", () => step(1));
  one("close").addEventListener("click", () => dialog.close());
  one("stage").addEventListener("pointermove", point);
  one("stage").addEventListener("pointerdown", point);
  dialog.addEventListener("close", () => {
    const last = index.places[current];
    current = null;
    loading.abort();
    remember();
    render();
    document.querySelector(`.cell[data-place="${last}"]`)?.focus();
  });
  addEventListener("keydown", (event) => {
    if (event.target.closest("input, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    const view = index.views[Number(event.key) - 1];
    if (view) show(view);
    else if (dialog.open && event.key === "ArrowRight") step(1);
    else if (dialog.open && event.key === "ArrowLeft") step(-1);
    else return;
    event.preventDefault();
  });
  const later = (work) => {
    let waiting = false;
    return () => {
      if (waiting) return;
      waiting = true;
      requestAnimationFrame(() => {
        waiting = false;
        work();
      });
    };
  };
  addEventListener("scroll", later(render), { passive: true });
  // Of the window, and where the header grows or shrinks.
  new ResizeObserver(later(() => (grid.clientWidth === layout.whole ? render() : refresh()))).observe(document.body);
  addEventListener("hashchange", recall);
  recall();
};

source.index().then(
  (found) => {
    index = found;
    begin();
  },
  (error) => {
    one("message").textContent = error.message;
  },
);
