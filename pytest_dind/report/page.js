"use strict";
(() => {
const LISTS = ["workers", "daemons", "clusters", "tests", "containers", "images", "networks", "volumes", "namespaces", "leaks", "events", "gaps"];
const ROW = 26, SPARE = 12, GUTTER = 112, MOST_PRINTED = 1000, FOLLOWS_FROM = 100;
const BAD = new Set(["failed", "error", "crashed"]);
const PRODUCTS = { kubernetes: "Kubernetes", swarm: "swarm" };
const GLYPHS = { passed: "✓", failed: "✗", error: "✗", crashed: "✗", skipped: "–", xfailed: "≈", xpassed: "≈", rerun: "↻", running: "…" };
const $ = (id) => document.getElementById(id);

// ---- data: entries in lines, of which later ones add to earlier ones

function readData(text) {
  const found = { run: new Map() };
  for (const kind of LISTS) found[kind] = new Map();
  let broken = 0;
  for (const line of text.split("\n")) {
    if (!line.trim()) continue;
    try {
      const [kind, id, facts] = JSON.parse(line);
      if (!found[kind].has(id)) found[kind].set(id, { id });
      Object.assign(found[kind].get(id), facts);
    } catch { broken += 1; }
  }
  if (broken) found.gaps.set("entries", { id: "entries", text: `${broken} entries of this report were cut short` });
  const data = { run: found.run.get("") || {} };
  for (const kind of LISTS) data[kind] = [...found[kind].values()];
  return data;
}

function lastMoment(data) {
  let last = data.run.end || 0;
  for (const kind of LISTS) for (const one of data[kind])
    for (const key of ["start", "ready", "end", "created", "started", "ended", "at"])
      if (one[key] > last) last = one[key];
  return last || 1;
}

// ---- rows: lanes, their tests, and what those made

let data, whole, view, rows = [], shown = [], lanes = [], active = -1, chosen = null, filter = "all", folded = false;
const closed = new Set();
// When each daemon that is gone ended, by its id: what was still in it went with it.
const ends = new Map();

function row(kind, level, one, parent) {
  const made = { kind, level, one, parent, children: [], n: rows.length, leaked: false, text: null };
  rows.push(made);
  if (parent) parent.children.push(made);
  return made;
}

function build() {
  const byStart = (a, b) => (a.start ?? a.created ?? a.at ?? 0) - (b.start ?? b.created ?? b.at ?? 0);
  const daemons = new Map(), workers = new Map(), tests = new Map();
  for (const one of data.daemons.sort(byStart)) {
    const lane = row("daemon", 1, one, null);
    lane.events = []; lane.gaps = [];
    daemons.set(one.id, lane);
    if (!one.kept) ends.set(one.id, one.end);
    lanes.push(lane);
  }
  // A cluster's lane is above those of the daemons that it is made of.
  const clusters = new Map();
  for (const one of data.clusters.sort(byStart)) {
    const lane = row("cluster", 1, one, null), first = lanes.findIndex((made) => one.daemons?.includes(made.one.id));
    clusters.set(one.id, lane);
    lanes.splice(first < 0 ? lanes.length : first, 0, lane);
  }
  const names = new Set([...data.workers.map((one) => one.id), ...data.tests.map((one) => one.worker)]);
  for (const name of [...names].sort((a, b) => a.localeCompare(b, "en", { numeric: true }))) {
    const one = data.workers.find((worker) => worker.id === name) || { id: name };
    const lane = row("worker", 1, one, null);
    workers.set(name, lane);
    lanes.push(lane);
  }
  for (const one of data.tests.sort(byStart)) {
    const made = row("test", 2, one, workers.get(one.worker));
    const key = `${one.worker} ${one.nodeid}`;
    tests.set(key, [...(tests.get(key) || []), made]);
  }
  // A test that ran again has made what came after its second start.
  const maker = (worker, test, at) => {
    const runs = tests.get(`${worker} ${test}`) || [];
    return runs.filter((run) => at == null || run.one.start <= at).pop() || runs[0];
  };
  const other = () => lanes[0] || (lanes.push(row("worker", 1, { id: "main" }, null)), lanes[0]);
  const parent = (one, at) => (one.test && maker(one.worker, one.test, at)) || clusters.get(one.cluster) || daemons.get(one.daemon) || workers.get(one.worker) || other();
  const things = [];
  for (const [kind, list] of [["container", "containers"], ["image", "images"], ["network", "networks"], ["volume", "volumes"], ["namespace", "namespaces"]])
    for (const one of data[list].sort(byStart)) {
      const under = parent(one, one.created ?? one.start);
      things.push(row(kind, under.level + 1, one, under));
    }
  const byName = new Map(things.map((made) => [`${made.kind} ${made.one.name}`, made]));
  for (const one of data.leaks) {
    const under = parent(one, one.at);
    const own = under.children.find((made) => made.kind === one.kind && made.one.name === one.name);
    const made = own || (one.test ? null : byName.get(`${one.kind} ${one.name}`)) || row("leak", under.level + 1, one, under);
    made.leaked = true;
    under.leaks = true;
  }
  for (const one of data.events) (daemons.get(one.daemon) || {}).events?.push(one);
  for (const one of data.gaps) if (one.start != null)
    for (const lane of one.daemon ? [daemons.get(one.daemon)] : daemons.values()) lane?.gaps.push(one);
}

const isBad = (made) => (made.kind === "test" && BAD.has(made.one.outcome)) || false;

function haystack(made) {
  if (made.text === null) {
    const one = made.one;
    made.text = [one.nodeid, one.name, one.id, one.image, one.nodes?.map((node) => node.name).join(" "), one.log, one.message, one.text, one.outcome, one.health, made.kind === "container" && one.exit_code != null ? `exit ${one.exit_code}` : ""]
      .filter(Boolean).join("\n").toLowerCase();
  }
  return made.text;
}

function choose() {
  const wanted = $("search").value.trim().toLowerCase();
  const keep = new Set();
  const plain = !wanted && filter === "all";
  let matches = 0;
  if (!plain) for (const made of rows) {
    if (made.level === 1 && filter !== "all") continue;
    const fits = filter === "all" || (filter === "failed" && isBad(made)) || (filter === "leaks" && made.leaked) ||
      (filter === "containers" && made.children.some((child) => child.kind === "container"));
    const under = made.parent && keep.has(made.parent) && made.parent.level === 2 && !wanted;
    if ((!fits && !under) || (wanted && !haystack(made).includes(wanted))) continue;
    if (fits) matches += 1;
    for (let one = made; one; one = one.parent) keep.add(one);
    if (wanted && made.level === 2) for (const child of made.children) keep.add(child);
  }
  const before = shown[active];
  shown = [];
  const add = (made) => {
    if (!plain && !keep.has(made)) return;
    shown.push(made);
    if (made.children.length && isOpen(made)) made.children.forEach(add);
  };
  lanes.forEach(add);
  active = before ? shown.indexOf(before) : -1;
  const count = plain ? `${data.tests.length.toLocaleString("en")} ${data.tests.length === 1 ? "test" : "tests"}` :
    `${matches.toLocaleString("en")} ${matches === 1 ? "match" : "matches"}`;
  $("count").textContent = count;
  $("grid").setAttribute("aria-rowcount", shown.length + 1);
  redraw();
  if (follows) follow();
}

const isOpen = (made) => !(closed.has(made) !== (folded && made.level === 2));
const toggle = (made) => { closed.has(made) ? closed.delete(made) : closed.add(made); choose(); };

// ---- words

function took(seconds) {
  if (seconds == null || Number.isNaN(seconds)) return "";
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${seconds.toFixed(2)} s`;
  const minutes = Math.floor(seconds / 60);
  return `${minutes} m ${String(Math.floor(seconds % 60)).padStart(2, "0")} s`;
}
const moment = (at) => (at == null ? "" : `+${took(at)}`);
const span = (made) => {
  const one = made.one;
  if (made.kind === "container") return [one.created ?? one.started ?? 0, one.ended ?? (one.removed ? one.created : ends.get(one.daemon) ?? null)];
  if (made.kind === "test" || made.kind === "daemon" || made.kind === "cluster") return [one.start ?? 0, one.end ?? null];
  if (made.kind === "worker") return [one.start ?? made.children[0]?.one.start ?? 0, Math.max(0, ...made.children.map((child) => child.one.end ?? 0)) || null];
  return [one.start ?? one.created ?? one.at ?? 0, one.end ?? one.removed ?? ends.get(one.daemon ?? one.cluster) ?? null];
};

function title(made) {
  const one = made.one;
  if (made.kind === "test") {
    const [file, ...rest] = one.nodeid.split("::");
    return rest.length ? [rest.join("::"), file] : [file, ""];
  }
  if (made.kind === "daemon") return [`daemon ${one.name ?? one.id.slice(0, 12)}`, [one.mode && `mode ${one.mode}`, one.version && `Docker ${one.version}`].filter(Boolean).join(", ")];
  if (made.kind === "cluster") return [`${PRODUCTS[one.kind] ?? "cluster"} ${one.name}`, [one.version, `${one.nodes?.length ?? 0} ${one.nodes?.length === 1 ? "node" : "nodes"}`].filter(Boolean).join(", ")];
  if (made.kind === "worker") return [one.id === "main" ? "tests" : `worker ${one.id}`, `${made.children.length} ${made.children.length === 1 ? "test" : "tests"}`];
  if (made.kind === "container") return [one.name ?? one.id.slice(0, 12), one.image ?? ""];
  if (made.kind === "leak") return [one.text ?? one.name, "left behind"];
  return [one.name ?? one.id, made.kind];
}

function state(made) {
  const one = made.one;
  if (made.kind === "test") return [one.outcome, BAD.has(one.outcome) ? "bad-text" : ["xpassed", "rerun", "running"].includes(one.outcome) ? "odd-text" : ""];
  if (made.leaked) return ["left behind", "bad-text"];
  if (made.kind === "container") {
    if (one.oom) return ["out of memory", "bad-text"];
    if (one.exit_code != null) return [`exit ${one.exit_code}`, one.exit_code ? "odd-text" : ""];
    const ran = span(made)[1] != null ? "ended with daemon" : "running";
    return [one.removed ? "removed" : one.started != null ? ran : "created", ""];
  }
  if (made.kind === "daemon") return [one.kept ? "kept" : one.reused ? "reused" : one.ready != null ? `ready in ${took(one.ready - (one.start ?? 0))}` : "", ""];
  if (made.kind === "cluster") return [one.ready != null ? `ready in ${took(one.ready - (one.start ?? 0))}` : "", ""];
  if (made.kind === "namespace" && one.log) return ["pods not well", "odd-text"];
  if (made.kind === "image") return [one.action ?? "", ""];
  if (made.kind === "worker") {
    const bad = made.children.filter(isBad).length;
    return bad ? [`${bad} failed`, "bad-text"] : ["", ""];
  }
  return [one.end != null ? "removed" : "", ""];
}

function facts(made) {
  const one = made.one, [start, end] = span(made), list = [];
  const say = (name, value) => { if (value !== "" && value != null && value !== false) list.push([name, String(value)]); };
  const daemon = (id) => data.daemons.find((found) => found.id === id)?.name ?? id;
  if (made.leaked) say("left behind", "yes: it was still there after its test");
  if (made.kind === "test") {
    say("outcome", one.outcome);
    say("worker", one.worker);
    say("daemons", one.daemons?.map(daemon).join(", "));
    say("start", moment(start));
    say("took", end == null ? "not ended" : took(end - start));
    say("phases", one.phases?.map((phase) => `${phase.name} ${took(phase.seconds)}`).join(", "));
    const count = made.children.filter((child) => child.kind === "container").length;
    say("containers", count || "");
  } else if (made.kind === "daemon") {
    say("mode", one.mode); say("engine", one.version && `Docker ${one.version}`); say("storage driver", one.driver);
    say("phases", one.phases?.map((phase) => `${phase.name} ${took(phase.seconds)}`).join(", "));
    say("ready", moment(one.ready)); say("end", moment(one.end));
    say("reused", one.reused && "yes: it was there before the run"); say("kept", one.kept && "yes: it outlives the run");
    say("events", made.events.length || ""); say("may have been missed", made.gaps.map((gap) => `${gap.text ?? "events"}, ${moment(gap.start)} to ${moment(gap.end)}`).join("; "));
    say("id", one.id);
  } else if (made.kind === "cluster") {
    say("version", one.version); say("start", moment(start)); say("ready", moment(one.ready)); say("end", moment(end));
    say("nodes", one.nodes?.map((node) => `${node.name} (${node.role})`).join(", "));
    say("daemons", one.daemons?.map(daemon).join(", ")); say("worker", one.worker);
  } else if (made.kind === "worker") {
    const count = {};
    for (const child of made.children) if (child.one.outcome) count[child.one.outcome] = (count[child.one.outcome] || 0) + 1;
    say("tests", Object.entries(count).map(([name, number]) => `${number} ${name}`).join(", "));
    say("start", moment(start)); say("end", moment(end));
  } else if (made.kind === "container") {
    say("image", one.image); say("exit code", one.exit_code); say("killed for memory", one.oom && "yes");
    say("made by", one.test || (one.test === "" ? "a fixture that outlives tests" : "")); say("daemon", daemon(one.daemon));
    say("created", moment(one.created)); say("started", moment(one.started));
    say("ended", one.ended != null ? moment(one.ended) : one.removed ? "" : end != null ? `with its daemon, ${moment(end)}` : "not ended"); say("ran", one.started != null && one.ended != null ? took(one.ended - one.started) : "");
    say("removed", one.removed && "yes"); say("id", one.id.slice(0, 12));
  } else {
    say("kind", made.kind); say("action", one.action); say("made by", one.test); say("daemon", one.daemon && daemon(one.daemon));
    say("cluster", one.cluster && (data.clusters.find((found) => found.id === one.cluster)?.name ?? one.cluster));
    say("at", moment(start)); say("took", end != null ? took(end - start) : ""); say("text", one.text);
  }
  return list;
}

// ---- elements

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value !== null) element.setAttribute(name, value);
  element.append(...children);
  return element;
}
const dl = (list) => make("dl", {}, ...list.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
const colours = {};
function colour(name) { return colours[name] || (colours[name] = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim()); }
const hue = (outcome) => (BAD.has(outcome) ? "failed" : outcome === "passed" ? "passed" : outcome === "running" || outcome === "rerun" ? "running" : outcome === "skipped" ? "skipped" : "xfailed");

function bar(start, end, name, kind, extra = "") {
  const open = end == null, width = view[1] - view[0], last = open ? whole : end;
  if (last < view[0] || start > view[1]) return null;
  const left = Math.max(start, view[0]), right = Math.min(last, view[1]);
  const element = make("span", { class: `b ${kind} ${open ? "open" : ""} ${extra}` });
  element.style.left = `${((left - view[0]) / width) * 100}%`;
  element.style.width = `${((right - left) / width) * 100}%`;
  if (name) element.style.backgroundColor = `var(--${name})`;
  return element;
}
function mark(at, text, kind) {
  const place = (at - view[0]) / (view[1] - view[0]);
  if (place < 0 || place > 1) return null;
  const element = make("span", { class: `mark ${kind}` }, text);
  // Before its place, if there is no room behind it.
  if ((1 - place) * $("ticks").clientWidth < text.length * 7 + 16) element.style.right = `${(1 - place) * 100}%`; else element.style.left = `${place * 100}%`;
  return element;
}

function bars(made) {
  const one = made.one, [start, end] = span(made), found = [];
  if (made.kind === "test") {
    const name = hue(one.outcome);
    found.push(bar(start, end, `${name}-soft`, ""));
    for (const phase of one.phases || []) if (phase.name === "call" || BAD.has(phase.outcome))
      found.push(bar(phase.start, phase.start + phase.seconds, name, ""));
  } else if (made.kind === "daemon") {
    if (one.ready != null || one.reused) found.push(bar(one.ready ?? 0, one.end, "ready", "phase"));
    for (const phase of one.phases || []) found.push(bar(phase.start, phase.start + phase.seconds, phase.name === "pull" || phase.name === "load" ? "pull" : "start", "phase"));
    for (const gap of made.gaps) found.push(bar(gap.start, gap.end, "", "gap"));
    if (made.events.length < 400) for (const event of made.events) found.push(bar(event.at, event.at, "", "dot"));
  } else if (made.kind === "cluster") {
    if (one.ready != null) found.push(bar(one.start ?? 0, one.ready, "start", "phase"), bar(one.ready, one.end, "ready", "phase"));
  } else if (made.kind === "container") {
    const name = made.leaked ? "leak" : one.oom || one.exit_code ? "ended-badly" : "container";
    found.push(bar(start, one.started ?? end ?? start, "", "thin"));
    if (one.started != null) found.push(bar(one.started, end, name, "slim", made.leaked ? "leaked" : ""));
    else if (made.leaked) found.push(bar(start, null, name, "slim", "leaked"));
    const code = one.exit_code ? `, exit ${one.exit_code}` : "";
    if (made.leaked) found.push(mark(one.ended ?? start, `left behind${code}`, "leak"));
    else if (one.exit_code) found.push(mark(one.ended ?? start, `exit ${one.exit_code}${one.oom ? ", killed for memory" : ""}`, one.oom ? "leak" : ""));
  } else {
    const name = made.leaked ? "leak" : made.kind === "image" ? "pull" : "thing";
    found.push(bar(start, made.kind === "leak" ? whole : end ?? (made.kind === "image" ? start : null), name, "slim", made.leaked ? "leaked" : ""));
  }
  return found.filter(Boolean);
}

// A lane of thousands of tests is a drawing.
function laneDrawing(made) {
  const canvas = make("canvas", { "aria-hidden": "true" });
  canvas.paint = () => paint(canvas, (context, width, height) => drawTests(context, made.children, view, 0, width, 4, height - 8));
  return canvas;
}
function paint(canvas, draw) {
  const box = canvas.getBoundingClientRect(), ratio = window.devicePixelRatio || 1;
  if (!box.width) return;
  canvas.width = Math.round(box.width * ratio); canvas.height = Math.round(box.height * ratio);
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  draw(context, box.width, box.height);
}
function drawTests(context, tests, range, left, width, top, height) {
  const scale = width / (range[1] - range[0]);
  for (const bad of [false, true]) for (const made of tests) {
    if (made.kind !== "test" || isBad(made) !== bad) continue;
    const [start, end] = span(made), last = end ?? whole;
    if (last < range[0] || start > range[1]) continue;
    const x = left + Math.max(0, (start - range[0]) * scale), right = left + Math.min(width, (last - range[0]) * scale);
    context.fillStyle = colour(hue(made.one.outcome));
    context.fillRect(x, top, Math.max(bad ? 2 : 1, right - x - (right - x > 4 ? 1 : 0)), height);
    if (made.leaks) { context.fillStyle = colour("leak"); context.fillRect(x, top + height, Math.max(2, right - x), 2); }
  }
}

function element(made, index) {
  const one = made.one, [main, aside] = title(made), [word, kind] = state(made), [start, end] = span(made);
  const name = make("div", { role: "gridcell", class: "name" });
  if (made.level < 3) {
    const caret = make("span", { class: "caret", "aria-hidden": "true" }, made.children.length ? (isOpen(made) ? "▼" : "▶") : "");
    name.append(caret);
  }
  if (made.kind === "test") name.append(make("span", { class: `glyph g-${["xfailed", "xpassed", "rerun", "running"].includes(one.outcome) ? "odd" : one.outcome}`, "aria-hidden": "true" }, GLYPHS[one.outcome] || "?"));
  else if (made.level > 1) name.append(make("span", { class: `glyph ${made.leaked ? "g-leak" : made.kind === "container" ? "g-container" : "g-thing"}`, "aria-hidden": "true" }, made.leaked ? "!" : { container: "▪", image: "◇", network: "⟷", volume: "▭", namespace: "▣" }[made.kind] || "·"));
  name.append(main);
  if (aside) name.append(make("span", { class: "aside" }, aside));
  const graph = make("div", { role: "gridcell", class: "bars" });
  if (made.kind === "worker") graph.append(laneDrawing(made)); else graph.append(...bars(made));
  graph.setAttribute("aria-label", `${graph.textContent} from ${moment(start)}${end == null ? "" : ` to ${moment(end)}`}`.trim());
  const found = make("div", {
    role: "row", id: `r${made.n}`, class: `row l${made.level} ${made.level === 1 ? "lane" : ""} ${index === active ? "active" : ""}`, "aria-level": made.level,
    "aria-rowindex": index + 2, "aria-selected": String(index === active), "aria-expanded": made.children.length ? String(isOpen(made)) : null,
  }, name, make("div", { role: "gridcell", class: `state ${kind}` }, word), make("div", { role: "gridcell", class: "took" }, end == null ? "" : took(end - start)), graph);
  found.style.top = `${index * ROW}px`;
  found.made = made;
  return found;
}

// ---- drawing: only the rows that are in sight are there

const there = new Map();
let everything = false, pending = false, follows = false, rest;

function redraw() {
  for (const one of there.values()) one.remove();
  there.clear();
  $("body").style.height = `${shown.length * ROW}px`;
  drawTicks();
  drawRows();
  drawOverview();
}
function drawRows() {
  pending = false;
  const grid = $("grid"), top = grid.scrollTop;
  let first = Math.max(0, Math.floor(top / ROW) - SPARE), last = Math.min(shown.length, Math.ceil((top + grid.clientHeight) / ROW) + SPARE);
  if (everything) { first = 0; last = Math.min(shown.length, MOST_PRINTED); }
  for (const [index, one] of there) if ((index < first || index >= last) && index !== active) { one.remove(); there.delete(index); }
  const fresh = document.createDocumentFragment(), canvases = [];
  const want = (index) => {
    if (there.has(index)) return;
    const one = element(shown[index], index);
    there.set(index, one);
    fresh.append(one);
    const canvas = one.querySelector("canvas");
    if (canvas) canvases.push(canvas);
  };
  for (let index = first; index < last; index += 1) want(index);
  if (active >= 0 && active < shown.length) want(active);
  $("body").append(fresh);
  for (const canvas of canvases) canvas.paint();
  if (!shown.length && !$("body").querySelector(".empty")) $("body").append(make("div", { class: "empty", role: "row" }, make("span", { role: "gridcell" }, data.tests.length ? "Nothing fits this search." : "No tests ran.")));
  if (shown.length) $("body").querySelector(".empty")?.remove();
  const at = shown[active];
  if (at) $("grid").setAttribute("aria-activedescendant", `r${at.n}`); else $("grid").removeAttribute("aria-activedescendant");
}
function step(width, room) {
  const least = width / Math.max(2, room);
  for (let unit = 0.001; ; unit *= 10) for (const by of [1, 2, 5]) if (unit * by >= least) return unit * by;
}
function drawTicks() {
  const ticks = $("ticks"), width = view[1] - view[0], pixels = ticks.clientWidth || 600, by = step(width, pixels / 86);
  ticks.replaceChildren();
  const first = Math.ceil(view[0] / by - 1e-9) * by;
  for (let at = first; at < view[1]; at += by) {
    const tick = make("span", {}, by < 1 ? `${at.toFixed(by < 0.01 ? 3 : by < 0.1 ? 2 : 1)} s` : at < 120 ? `${Math.round(at)} s` : took(at));
    tick.style.left = `${((at - view[0]) / width) * 100}%`;
    if ((at - view[0]) / width < 0.94) ticks.append(tick);
  }
  // In percent, so that they fit paper too.
  const share = by / width;
  $("body").style.setProperty("--tick", `${share * 100}%`);
  $("body").style.setProperty("--tick-at", `${((first - view[0]) / width / Math.max(1e-9, 1 - share)) * 100}%`);
}

const laneHeight = () => Math.max(3, Math.min(17, 150 / Math.max(1, lanes.length)));
function drawOverview(from, to) {
  const canvas = $("overview"), height = laneHeight();
  canvas.style.height = `${Math.max(34, lanes.length * height + 14)}px`;
  paint(canvas, (context, full, tall) => {
    const width = full - GUTTER - 8, x = (at) => GUTTER + (at / whole) * width;
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    lanes.forEach((lane, index) => {
      const top = 6 + index * height, inner = Math.max(2, height - 4);
      if (height > 9) { context.fillStyle = colour("muted"); context.fillText(title(lane)[0].slice(0, 19), 9, top + height / 2, GUTTER - 14); }
      if (lane.kind === "worker") drawTests(context, lane.children, [0, whole], GUTTER, width, top + 2, inner);
      else {
        const one = lane.one, box = (a, b, name) => { context.fillStyle = colour(name); context.fillRect(x(a), top + 2, Math.max(1, x(b) - x(a)), inner); };
        box(one.ready ?? one.start ?? 0, one.end ?? whole, "ready");
        if (lane.kind === "cluster" && one.ready != null) box(one.start ?? 0, one.ready, "start");
        for (const phase of one.phases || []) box(phase.start, phase.start + phase.seconds, phase.name === "start" ? "start" : "pull");
      }
    });
    const [a, b] = from == null ? view : [from, to];
    if (b - a < whole * 0.9999) {
      context.fillStyle = colour("bg"); context.globalAlpha = 0.72;
      context.fillRect(GUTTER, 0, x(a) - GUTTER, tall); context.fillRect(x(b), 0, x(whole) - x(b), tall);
      context.globalAlpha = 1; context.strokeStyle = colour("accent"); context.lineWidth = 1.5;
      context.strokeRect(x(a), 2, Math.max(2, x(b) - x(a)), tall - 4);
    }
  });
}

// ---- moving about

function look(a, b) {
  const width = Math.min(whole, Math.max(b - a, Math.min(whole, 0.002)));
  const start = Math.max(0, Math.min(a, whole - width));
  view = [start, start + width];
  redraw();
}
function zoom(by, at = (view[0] + view[1]) / 2) { look(at - (at - view[0]) * by, at + (view[1] - at) * by); }

// The time of the rows in sight: in a long run each row's own is a dot.
function follow() {
  const grid = $("grid"), first = Math.floor(grid.scrollTop / ROW), last = Math.ceil((grid.scrollTop + grid.clientHeight - $("axis").offsetHeight) / ROW);
  const spans = shown.slice(first, last).filter((made) => made.kind === "test").map(span);
  if (!spans.length) { if (view[1] - view[0] < whole) look(0, whole); return; }
  const a = Math.min(...spans.map(([start]) => start)), b = Math.max(...spans.map(([start, end]) => end ?? start)), more = (b - a) * 0.03 + 0.005;
  look(a - more, Math.min(whole, b + more));
}
function setFollows(on) {
  follows = on;
  $("follow").setAttribute("aria-pressed", String(on));
  if (on) follow();
}
// By hand: the rows in sight set the time no more.
function lookBy(change) { setFollows(false); change(); }

function go(index, { tell = chosen !== null } = {}) {
  if (!shown.length) return;
  const old = there.get(active);
  active = Math.max(0, Math.min(shown.length - 1, index));
  if (old) { old.classList.remove("active"); old.setAttribute("aria-selected", "false"); }
  const grid = $("grid"), top = active * ROW, head = $("axis").offsetHeight;
  if (top < grid.scrollTop) grid.scrollTop = top;
  else if (top + ROW + head > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + ROW + head - grid.clientHeight;
  drawRows();
  const now = there.get(active);
  now.classList.add("active");
  now.setAttribute("aria-selected", "true");
  if (tell) details(shown[active], false);
}
function goTo(made, options) {
  let hidden = false;
  for (let one = made.parent; one; one = one.parent) if (!isOpen(one)) { closed.has(one) ? closed.delete(one) : closed.add(one); hidden = true; }
  if (hidden) choose();
  if (!shown.includes(made)) { $("search").value = ""; setFilter("all"); }
  const [start, end] = span(made);
  if (start > view[1] || (end ?? whole) < view[0]) look(0, whole);
  go(shown.indexOf(made), options);
}
function setFilter(name) {
  filter = name;
  for (const button of $("filters").children) button.setAttribute("aria-pressed", String(button.dataset.filter === name));
  $("grid").scrollTop = 0;
  choose();
}

function details(made, focus = true) {
  chosen = made;
  const one = made.one, content = $("content");
  $("subject").textContent = title(made).filter(Boolean).reverse().join(made.kind === "test" ? "::" : " — ");
  if (made.kind !== "test") $("subject").textContent = title(made).filter(Boolean).join(" — ");
  content.replaceChildren(dl(facts(made)));
  const block = (name, text) => { if (text) content.append(make("h3", {}, name), make("pre", { tabindex: "0", role: "region", "aria-label": name }, text)); };
  block(one.outcome === "skipped" ? "Why it was skipped" : "What pytest said", one.message);
  block("Health checks", one.health);
  if (made.kind === "namespace") block("Pods that were not well when its test failed", one.log);
  if (made.kind === "container") block("Log", one.log || "Nothing was written, or nothing of it is known.");
  if (made.kind === "daemon" && made.events.length) block("Events", made.events.map((event) => `${moment(event.at).padEnd(9)} ${event.text}`).join("\n"));
  const linked = made.kind === "test" ? made.children : made.parent && made.parent.kind === "test" ? [made.parent] : [];
  if (linked.length) content.append(make("h3", {}, made.kind === "test" ? "What it made" : "Its test"), make("ul", { class: "links" }, ...linked.map((child) => {
    const button = make("button", { type: "button" }, title(child)[0], " ", state(child)[0] ? `(${state(child)[0]})` : "");
    button.addEventListener("click", () => { goTo(child, { tell: false }); details(child); });
    return make("li", {}, button);
  })));
  const was = $("details").hidden;
  $("details").hidden = false;
  content.scrollTop = 0;
  if (was) { redraw(); go(active, { tell: false }); }
  if (focus) $("subject").focus();
}
function dismiss() {
  if ($("details").hidden) return;
  $("details").hidden = true;
  chosen = null;
  redraw();
  $("grid").focus();
}

function under(event) {
  const found = event.target.closest?.("#body .row[id]");
  if (!found) return null;
  const made = found.made, area = event.target.closest(".bars");
  if (made.kind !== "worker" || !area) return made;
  const box = area.getBoundingClientRect(), at = view[0] + ((event.clientX - box.left) / box.width) * (view[1] - view[0]);
  const near = ((view[1] - view[0]) / box.width) * 2;
  return made.children.find((child) => { const [start, end] = span(child); return child.kind === "test" && start - near <= at && at <= (end ?? whole) + near; }) || made;
}
function tip(event) {
  const box = $("tip"), made = under(event);
  if (!made) { box.hidden = true; return; }
  box.replaceChildren(make("b", {}, made.kind === "test" ? made.one.nodeid : title(made).filter(Boolean).join(" — ")), dl(facts(made)));
  const last = (made.one.log || made.one.message || "").trimEnd().split("\n").slice(-3).map((text) => text.slice(0, 160)).join("\n");
  if (last) box.append(make("pre", {}, last));
  box.hidden = false;
  box.style.left = `${Math.max(6, Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 10))}px`;
  box.style.top = `${event.clientY + 18 + box.offsetHeight > innerHeight ? Math.max(4, event.clientY - box.offsetHeight - 12) : event.clientY + 18}px`;
}

function keys(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const page = Math.max(1, Math.floor($("grid").clientHeight / ROW) - 2), made = shown[active];
  const act = {
    ArrowDown: () => go(active + 1), ArrowUp: () => go(active - 1), PageDown: () => go(active + page), PageUp: () => go(active - page),
    Home: () => go(0), End: () => go(shown.length - 1),
    ArrowRight: () => { if (made?.children.length) isOpen(made) ? go(active + 1) : toggle(made); },
    ArrowLeft: () => { if (made?.children.length && isOpen(made)) toggle(made); else if (made?.parent) go(shown.indexOf(made.parent)); },
    Enter: () => made && details(made), " ": () => made && details(made),
    f: () => { const next = [...shown.keys()].map((n) => (active + 1 + n) % shown.length).find((n) => isBad(shown[n])); if (next != null) go(next); },
    "/": () => $("search").focus(), "+": () => lookBy(() => zoom(0.5)), "=": () => lookBy(() => zoom(0.5)), "-": () => lookBy(() => zoom(2)), 0: () => lookBy(() => look(0, whole)), Escape: dismiss,
  }[event.key];
  if (act) { event.preventDefault(); act(); }
}

function listen() {
  const grid = $("grid"), overview = $("overview");
  grid.addEventListener("scroll", () => { if (!pending) { pending = true; requestAnimationFrame(drawRows); } $("tip").hidden = true; if (follows) { clearTimeout(rest); rest = setTimeout(follow, 140); } }, { passive: true });
  grid.addEventListener("keydown", keys);
  grid.addEventListener("focus", () => { if (active < 0 && grid.matches(":focus-visible")) go(0, { tell: false }); });
  grid.addEventListener("click", (event) => {
    const made = under(event);
    if (!made) return;
    if (event.target.closest(".caret") && made.children.length) { toggle(made); return; }
    if (event.target.closest(".row").made !== made) goTo(made, { tell: false }); else go(shown.indexOf(made), { tell: false });
    details(made, false);
  });
  grid.addEventListener("mousemove", tip);
  grid.addEventListener("mouseleave", () => { $("tip").hidden = true; });
  grid.addEventListener("wheel", (event) => {
    const area = event.target.closest(".bars");
    if (!area || (!event.ctrlKey && !event.shiftKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY))) return;
    event.preventDefault();
    setFollows(false);
    const box = area.getBoundingClientRect(), width = view[1] - view[0];
    if (event.ctrlKey) zoom(event.deltaY > 0 ? 1.25 : 0.8, view[0] + ((event.clientX - box.left) / box.width) * width);
    else { const by = ((event.deltaX || event.deltaY) / box.width) * width; look(view[0] + by, view[1] + by); }
  }, { passive: false });
  let began = null;
  const at = (event) => { const box = overview.getBoundingClientRect(); return Math.max(0, Math.min(whole, ((event.clientX - box.left - GUTTER) / (box.width - GUTTER - 8)) * whole)); };
  overview.addEventListener("pointerdown", (event) => { began = at(event); overview.setPointerCapture(event.pointerId); });
  overview.addEventListener("pointermove", (event) => { if (began !== null) drawOverview(Math.min(began, at(event)), Math.max(began, at(event))); });
  overview.addEventListener("pointerup", (event) => {
    const [a, b] = [began, at(event)].sort((one, two) => one - two);
    began = null;
    setFollows(false);
    if (b - a > whole * 0.004) look(a, b); else if (view[1] - view[0] < whole) { const half = (view[1] - view[0]) / 2; look(a - half, a + half); } else drawOverview();
  });
  overview.addEventListener("dblclick", () => lookBy(() => look(0, whole)));
  let timer;
  $("search").addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(() => { grid.scrollTop = 0; choose(); }, 90); });
  $("search").addEventListener("keydown", (event) => { if (event.key === "ArrowDown") { event.preventDefault(); grid.focus(); go(Math.max(0, active), { tell: false }); } });
  $("tools").addEventListener("submit", (event) => { event.preventDefault(); clearTimeout(timer); choose(); grid.focus(); go(0, { tell: false }); });
  for (const button of $("filters").children) button.addEventListener("click", () => setFilter(button.dataset.filter));
  $("fold").addEventListener("click", () => { folded = !folded; for (const made of [...closed]) if (made.level === 2) closed.delete(made); $("fold").setAttribute("aria-pressed", String(folded)); choose(); });
  $("in").addEventListener("click", () => lookBy(() => zoom(0.5)));
  $("out").addEventListener("click", () => lookBy(() => zoom(2)));
  $("whole").addEventListener("click", () => lookBy(() => look(0, whole)));
  $("follow").addEventListener("click", () => setFollows(!follows));
  $("close").addEventListener("click", dismiss);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") { $("tip").hidden = true; if (event.target !== $("search")) dismiss(); } });
  const fresh = () => { for (const name of Object.keys(colours)) delete colours[name]; redraw(); };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", fresh);
  new ResizeObserver(() => requestAnimationFrame(redraw)).observe(grid);
  addEventListener("beforeprint", () => {
    everything = true;
    if (follows) view = [0, whole];
    $("unprinted").textContent = shown.length > MOST_PRINTED ? `These are the first ${MOST_PRINTED.toLocaleString("en")} of ${shown.length.toLocaleString("en")} rows: a search, or a filter, prints others.` : "";
    fresh();
  });
  addEventListener("afterprint", () => { everything = false; fresh(); if (follows) follow(); });
}

// ---- the top of the page

function introduce() {
  const run = data.run, count = {};
  for (const one of data.tests) count[one.outcome] = (count[one.outcome] || 0) + 1;
  if (run.project) { $("title").textContent = `Test run of ${run.project}`; document.title = `${run.project}: a test run and its Docker daemons`; }
  const when = run.started ? new Date(run.started) : null;
  $("about").textContent = [when && !Number.isNaN(+when) && when.toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "medium" }), run.plugin && `pytest-dind ${run.plugin}`, run.pytest && `pytest ${run.pytest}`, run.python && `Python ${run.python}`].filter(Boolean).join(" · ");
  const figure = (number, name, kind = "") => $("figures").append(make("li", { class: kind }, make("b", {}, String(number)), make("span", {}, name)));
  const bad = (count.failed || 0) + (count.error || 0) + (count.crashed || 0);
  figure((count.passed || 0).toLocaleString("en"), "passed", count.passed ? "good" : "");
  figure(bad.toLocaleString("en"), "failed", bad ? "bad" : "");
  if (count.skipped) figure(count.skipped.toLocaleString("en"), "skipped");
  const odd = data.tests.length - (count.passed || 0) - bad - (count.skipped || 0);
  if (odd) figure(odd.toLocaleString("en"), "other");
  figure(data.daemons.length, data.daemons.length === 1 ? "daemon" : "daemons");
  if (data.clusters.length) figure(data.clusters.length, data.clusters.length === 1 ? "cluster" : "clusters");
  if (data.containers.length) figure(data.containers.length.toLocaleString("en"), data.containers.length === 1 ? "container" : "containers");
  figure(data.leaks.length.toLocaleString("en"), "left behind", data.leaks.length ? "bad" : "");
  figure(took(whole), "in all");
  const notice = (text) => $("notices").append(make("p", { class: "notice", role: "note" }, text));
  if (run.end == null) notice(`No end of this run was recorded: it goes on, or was killed. This is what was known after ${took(whole)}.`);
  for (const gap of data.gaps) notice(`Not all may be known: ${gap.text ?? "events may have been missed"}${gap.start != null ? `, from ${moment(gap.start)} to ${moment(gap.end)}` : ""}.`);
  $("overview").setAttribute("aria-label", `Overview of the run: ${lanes.map((lane) => title(lane)[0]).join(", ")}; ${took(whole)} in all. The timeline below has the same.`);
}

document.addEventListener("DOMContentLoaded", () => {
  data = readData($("data").textContent);
  whole = lastMoment(data);
  view = [0, whole];
  build();
  introduce();
  listen();
  choose();
  if (data.tests.length > FOLLOWS_FROM) setFollows(true);
  document.documentElement.dataset.ready = "yes";
});
})();
