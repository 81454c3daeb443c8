// Drawing: canvases, only what is visible.

const dark = matchMedia("(prefers-color-scheme: dark)");
let printing = false;
let ink = {};
function readInk() {
  const style = getComputedStyle(document.documentElement);
  const of = (name) => style.getPropertyValue("--" + name).trim();
  for (const name of ["paper", "panel", "line", "faint", "ink", "soft", "accent", "mark", "good", "bad", "calm", "quiet"]) ink[name] = of(name);
  patterns.clear();
}

// Fill, pattern, height in a full lane. Patterns tell apart what colours may not.
const STYLE = {
  fault: ["#d55e00", "slant", 15], situation: ["#7a5fb0", "", 12], message_fate: ["#8a8f98", "", 8],
  store_stalled: ["#d55e00", "cross", 15], store_mark: ["#b06a00", "", 12],
  commit: ["#2f8fd0", "", 14], commit_routine: ["#9aa3ad", "", 14], commit_election: ["#009e73", "", 14], commit_stranger: ["#d55e00", "", 14],
  process_down: ["#3b3f45", "cross", 13], process_paused: ["#777d86", "slant", 13],
  campaigning: ["#e8c14a", "dots", 15], loading: ["#e69f00", "slant", 15], leading: ["#0072b2", "", 15],
  cut: ["#d55e00", "slant", 12], watch_hidden: ["#cc79a7", "dots", 12],
  machine_off: ["#3b3f45", "cross", 13], machine_dead: ["#17191c", "cross", 13], agent_down: ["#777d86", "slant", 13], agent_hung: ["#b98b2f", "dots", 13],
  node_ready: ["#8fd3b8", "", 13], node_cordoned: ["#f0e08a", "slant", 13], node_draining: ["#8ac6ee", "slant", 13], node_not_ready: ["#e2703a", "cross", 13],
  node_event: ["#7a5fb0", "", 8], call_list: ["#9aa3ad", "", 8],
  pending: ["#f2b84b", "slant", 14], running: ["#2fae85", "", 14], stopped: ["#aeb5be", "", 14], failed: ["#d55e00", "cross", 14], unknown: ["#cc79a7", "dots", 14], deleting: ["#7fa6c9", "upright", 14],
  home: ["#d8dde4", "", 13], truth: ["#1f8a68", "", 6], tombstone: ["#c2410c", "slant", 6],
  workload_event: ["#7a5fb0", "", 9], call_apply: ["#2f8fd0", "", 9], call_delete: ["#a03a6b", "", 9], call_status: ["#9aa3ad", "", 9],
  request: ["#5a9bd4", "", 12],
};
const HOMES = ["#b7d4ee", "#f3cfa4", "#bfe3cf", "#e6c3dc", "#e9e2a0", "#c9c6ee", "#f0bcae", "#b6e0e6"];
const trackHeight = (track) => {
  const height = Math.max(...[...new Set(track.items.map((item) => item.kind))].map((kind) => STYLE[kind][2]));
  return (height + 1) * track.rows;
};
const homes = new Map();
const homeColour = (name) => {
  const number = /(\d+)$/.exec(name);
  if (number) return HOMES[Number(number[1]) % HOMES.length];
  if (!homes.has(name)) homes.set(name, homes.size);
  return HOMES[homes.get(name) % HOMES.length];
};
const LEADERS = ["#0072b2", "#7a5fb0", "#00795a", "#a03a6b", "#8a6d00"];

const patterns = new Map();
function paint(context, colour, pattern) {
  if (!pattern) return colour;
  const key = colour + pattern;
  if (patterns.has(key)) return patterns.get(key);
  const tile = document.createElement("canvas");
  tile.width = tile.height = 8;
  const on = tile.getContext("2d");
  on.fillStyle = colour;
  on.fillRect(0, 0, 8, 8);
  on.strokeStyle = on.fillStyle = light(colour) ? "rgba(0,0,0,.34)" : "rgba(255,255,255,.42)";
  on.lineWidth = 1.4;
  on.beginPath();
  if (pattern === "slant" || pattern === "cross") for (const at of [-8, 0, 8]) { on.moveTo(at, 8); on.lineTo(at + 8, 0); }
  if (pattern === "cross") for (const at of [-8, 0, 8]) { on.moveTo(at, 0); on.lineTo(at + 8, 8); }
  if (pattern === "upright") { on.moveTo(2, 0); on.lineTo(2, 8); on.moveTo(6, 0); on.lineTo(6, 8); }
  on.stroke();
  if (pattern === "dots") { on.fillRect(1, 1, 2, 2); on.fillRect(5, 5, 2, 2); }
  const made = context.createPattern(tile, "repeat");
  patterns.set(key, made);
  return made;
}
function light(colour) {
  const [r, g, b] = [1, 3, 5].map((at) => parseInt(colour.slice(at, at + 2), 16));
  return 0.299 * r + 0.587 * g + 0.114 * b > 140;
}
function colourOf(item) {
  if (item.kind === "home") return homeColour(item.text);
  if (item.kind === "leading") {
    const epoch = Number(/(\d+)$/.exec(item.text)?.[1] ?? 0);
    return LEADERS[epochs.indexOf(epoch) % LEADERS.length] ?? LEADERS[0];
  }
  return STYLE[item.kind][0];
}
const epochs = items.filter((item) => item.kind === "leading").sort((a, b) => a.from - b.from)
  .map((item) => Number(/(\d+)$/.exec(item.text)?.[1] ?? 0)).filter((e, at, all) => all.indexOf(e) === at);

function sized(canvas, height) {
  const ratio = Math.min(2, devicePixelRatio || 1), width = canvas.clientWidth;
  const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== w || canvas.height !== h) { canvas.width = w; canvas.height = h; }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = "11px " + getComputedStyle(document.body).fontFamily;
  context.textBaseline = "middle";
  return [context, width];
}

// The view: from when to when; where the lanes begin.
const view = { from: 0, to: END, mouse: null, chosen: null, flash: null, at: null };
const gutter = () => (innerWidth < 700 ? 84 : 132);
const perMs = (width) => (width - gutter() - 2) / (view.to - view.from);
const xOf = (t, width) => gutter() + (t - view.from) * perMs(width);
const tOf = (x, width) => view.from + (x - gutter()) / perMs(width);

// Where everything lies, from top to bottom.
let layout = [], tall = 0;
function arrange(query) {
  layout = [];
  let y = 0;
  for (const group of groups) {
    const shown = group.lanes.filter((lane) => matches(lane, query));
    if (shown.length === 0) continue;
    layout.push({ y, height: 21, group, count: shown.length });
    y += 21;
    if (group.folded) continue;
    const dense = group.dense && shown.length > DENSE_ABOVE;
    for (const lane of shown) {
      const entry = { y, lane, group, dense, tracks: [] };
      if (lane.chart) entry.height = 60;
      else if (dense) entry.height = 7;
      else {
        let at = 3;
        for (const [number, track] of [...lane.tracks].sort((a, b) => a[0] - b[0])) {
          const height = trackHeight(track);
          entry.tracks.push({ number, track, y: at, height, row: height / track.rows });
          at += height + 1;
        }
        entry.height = Math.max(20, at + 2);
      }
      layout.push(entry);
      y += entry.height;
    }
  }
  tall = y + 6;
}
function matches(lane, query) {
  if (!query) return true;
  const words = query.toLowerCase().split(/[\s,]+/).filter(Boolean);
  const name = (lane.name + " " + (lane.home ?? lane.group)).toLowerCase();
  return words.some((word) => (/\d$/.test(word) ? new RegExp(escaped(word) + "(?!\\d)").test(name) : name.includes(word)));
}
const escaped = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");

const STEPS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 18e5, 36e5, 144e5, 864e5];
function ticks(width) {
  const wanted = 92 / perMs(width);
  const step = STEPS.find((step) => step >= wanted) ?? STEPS[STEPS.length - 1];
  const list = [];
  for (let t = Math.ceil(view.from / step) * step; t <= view.to; t += step) list.push(t);
  return [list, step];
}
function background(on, width, height) {
  const edge = gutter();
  const band = (from, to, colour) => {
    const [a, b] = [Math.max(edge, xOf(from, width)), Math.min(width, xOf(to, width))];
    if (b > a) { on.fillStyle = colour; on.fillRect(a, 0, b - a, height); }
  };
  if (PHASES[1]) band(PHASES[1].at, PHASES[2]?.at ?? END, ink.calm);
  if (PHASES[2]) band(PHASES[2].at, END, ink.quiet);
  band(END, view.to + 1, ink.panel);
  on.strokeStyle = ink.faint;
  on.lineWidth = 1;
  on.beginPath();
  for (const t of ticks(width)[0]) { const x = Math.round(xOf(t, width)) + 0.5; if (x > edge) { on.moveTo(x, 0); on.lineTo(x, height); } }
  on.stroke();
}
function upright(on, t, width, height, colour, wide, dash = []) {
  const x = xOf(t, width);
  if (x < gutter() || x > width) return;
  on.strokeStyle = colour; on.lineWidth = wide; on.setLineDash(dash);
  on.beginPath(); on.moveTo(x, 0); on.lineTo(x, height); on.stroke();
  on.setLineDash([]);
}

function drawLanes() {
  const scroll = $("#scroll"), canvas = $("#lanes");
  const height = printing ? Math.min(tall, 2600) : scroll.clientHeight;
  $("#tall").style.height = Math.max(tall, height) + "px";
  canvas.style.height = height + "px";
  const [on, width] = sized(canvas, height);
  const top = printing ? 0 : scroll.scrollTop, edge = gutter();
  background(on, width, height);
  for (const entry of layout) {
    if (entry.y + entry.height < top) continue;
    if (entry.y > top + height) break;
    on.save();
    on.translate(0, entry.y - top);
    if (!entry.lane) drawGroup(on, entry, width);
    else if (entry.lane.chart) drawChart(on, entry, width);
    else drawLane(on, entry, width);
    on.restore();
  }
  on.strokeStyle = ink.line; on.lineWidth = 1;
  on.beginPath(); on.moveTo(edge - 0.5, 0); on.lineTo(edge - 0.5, height); on.stroke();
  if (PHASES[1]) upright(on, PHASES[1].at, width, height, ink.good, 1.5, [6, 4]);
  if (view.at !== null) upright(on, view.at, width, height, ink.accent, 1.5);
  if (BROKEN) upright(on, BROKEN.at, width, height, ink.bad, 2.5);
  if (view.mouse) upright(on, view.mouse.t, width, height, ink.soft, 0.8, [2, 3]);
}
function drawGroup(on, entry, width) {
  const { group, count } = entry;
  on.fillStyle = ink.panel;
  on.fillRect(0, 0, width, entry.height);
  on.fillStyle = group.id === "concerned" ? ink.bad : ink.ink;
  on.font = "600 " + on.font;
  let title = `${group.folded ? "▸" : "▾"} ${group.title}`;
  if (count > 1 && group.id !== "charts") title += ` (${count})`;
  on.fillText(title, 6, 11);
  if (group.lanes.length > DENSE_ABOVE && !group.folded) {
    on.font = on.font.replace("600 ", "");
    on.fillStyle = ink.accent;
    on.fillText(group.dense ? "[show in full]" : "[show dense]", Math.max(gutter() + 8, on.measureText(title).width + 40), 11);
  }
}
function drawLane(on, entry, width) {
  const { lane, height } = entry, edge = gutter();
  if (view.flash === lane) { on.fillStyle = ink.mark; on.globalAlpha = 0.75; on.fillRect(0, 0, width, height); on.globalAlpha = 1; }
  if (!entry.dense) {
    on.fillStyle = lane.concerned ? ink.bad : ink.ink;
    const plain = on.font;
    if (lane.concerned) on.font = "600 " + plain;
    on.fillText(cut(on, lane.name, edge - 14), 8, Math.min(height / 2, 13));
    on.font = plain;
    on.strokeStyle = ink.faint; on.lineWidth = 1;
    on.beginPath(); on.moveTo(0, height - 0.5); on.lineTo(width, height - 0.5); on.stroke();
  }
  on.save();
  on.beginPath(); on.rect(edge, 0, width - edge, height); on.clip();
  if (entry.dense) drawDense(on, entry, width);
  else for (const { track, y, row } of entry.tracks) drawTrack(on, track, y, row, width);
  on.restore();
}
// A thin row: the main state only, and a red tick where something went wrong.
function drawDense(on, { lane, height }, width) {
  const numbers = [...lane.tracks.keys()].sort((a, b) => a - b);
  const mains = lane.home === "nodes" ? [1, 0] : [numbers[0]];
  for (const number of mains) {
    const track = lane.tracks.get(number);
    if (track) drawTrack(on, track, 0.5, height - 1, width, true);
  }
}
function drawTrack(on, track, top, row, width, plain = false) {
  const list = track.items, edge = gutter();
  let lastX = -9, lastRow = -1, lastKind = "";
  for (let at = firstAt(list, view.from); at < list.length && list[at].from <= view.to; at++) {
    const item = list[at];
    if (item.to < view.from) continue;
    const a = Math.max(edge - 2, xOf(item.from, width)), b = Math.min(width + 2, xOf(item.to, width));
    // What falls onto the same pixel is drawn once; what went wrong is always drawn.
    const x = Math.round(a);
    if (b - a < 1.5 && x === lastX && item.row === lastRow && item.kind === lastKind && !item.bad) continue;
    if (b - a < 1.5) [lastX, lastRow, lastKind] = [x, item.row, item.kind];
    const y = top + (plain ? 0 : item.row * row), h = Math.max(2, row - 1);
    const colour = colourOf(item), pattern = STYLE[item.kind][1];
    on.fillStyle = paint(on, colour, h < 5 ? "" : pattern);
    if (item.point) drawPoint(on, item, a, y, h);
    else {
      const w = Math.max(1.5, b - a - 0.5);
      on.fillRect(a, y, w, h);
      const crossed = item.bad && (item.kind.startsWith("call") || item.kind === "request");
      if (crossed) drawCross(on, a + Math.min(w, 12) / 2, y + h / 2, h);
      const aside = crossed ? 10 : 0;
      if (w - aside > 34 && h >= 9 && !plain) label(on, item, a + aside, y, w - aside, h, colour, pattern);
    }
    if (view.chosen === item) { on.strokeStyle = ink.ink; on.lineWidth = 2; on.strokeRect(a - 1, y - 0.5, Math.max(3, b - a + 2), h + 1); }
  }
}
function label(on, item, a, y, w, h, colour, pattern) {
  const text = cut(on, item.text, w - 8);
  if (!text) return;
  if (pattern) {
    on.globalAlpha = 0.82; on.fillStyle = colour; on.fillRect(a + 1, y + 1, on.measureText(text).width + 6, h - 2); on.globalAlpha = 1;
  }
  on.fillStyle = light(colour) ? "#101317" : "#ffffff";
  on.fillText(text, a + 4, y + h / 2 + 0.5);
}
function drawPoint(on, item, x, y, h) {
  const half = Math.min(5, h / 2), middle = y + h / 2;
  if (item.bad && item.kind !== "fault") { on.fillStyle = ink.bad; drawCross(on, x, middle, h); return; }
  if (item.kind.startsWith("commit")) { on.fillRect(x - 0.75, y, 1.5, h); return; }
  on.beginPath();
  if (item.kind === "fault") { on.moveTo(x - half, y + 1); on.lineTo(x + half, y + 1); on.lineTo(x, y + h - 1); }
  else { on.moveTo(x, middle - half); on.lineTo(x + half, middle); on.lineTo(x, middle + half); on.lineTo(x - half, middle); }
  on.fill();
}
function drawCross(on, x, y, h) {
  const half = Math.min(4, Math.max(2.5, h / 2 - 1));
  on.beginPath(); on.moveTo(x - half, y - half); on.lineTo(x + half, y + half); on.moveTo(x - half, y + half); on.lineTo(x + half, y - half);
  on.strokeStyle = ink.paper; on.lineWidth = 3.4; on.stroke();
  on.strokeStyle = ink.bad; on.lineWidth = 1.8; on.stroke();
}
const widths = new Map();
function cut(on, text, room) {
  if (room < 12) return "";
  if (!widths.has(text)) widths.set(text, on.measureText(text).width);
  const whole = widths.get(text);
  if (whole <= room) return text;
  const letters = Math.floor((text.length * (room - 8)) / whole);
  return letters < 2 ? "" : text.slice(0, letters) + "…";
}

const DASHES = [[], [6, 3], [2, 2], [9, 3, 2, 3], [1, 3]];
const LINES = ["#2f8fd0", "#d55e00", "#12a67c", "#c25a92", "#b08a00", "#8a70c4"];
function valueAt(points, t) {
  let low = 0, high = points.length;
  while (low < high) { const middle = (low + high) >> 1; if (points[middle][0] <= t) low = middle + 1; else high = middle; }
  return low === 0 ? null : points[low - 1][1];
}
function drawChart(on, entry, width) {
  const { lane, height } = entry, edge = gutter(), top = 18, room = height - 22;
  const most = Math.max(1, ...lane.chart.map((series) => series.points.reduce((max, point) => Math.max(max, point[1]), 0)));
  on.fillStyle = ink.ink;
  on.fillText(cut(on, lane.name, edge - 40), 8, 11);
  on.fillStyle = ink.soft;
  on.textAlign = "right";
  on.fillText(String(Math.round(most * 10) / 10), edge - 5, top + 4);
  on.fillText("0", edge - 5, top + room - 2);
  on.textAlign = "left";
  on.strokeStyle = ink.faint;
  on.beginPath(); on.moveTo(0, height - 0.5); on.lineTo(width, height - 0.5); on.stroke();
  on.save();
  on.beginPath(); on.rect(edge, 0, width - edge, height); on.clip();
  let named = edge + 6;
  lane.chart.forEach((series, number) => {
    on.strokeStyle = LINES[number % LINES.length]; on.lineWidth = 1.5; on.setLineDash(DASHES[number % DASHES.length]);
    on.beginPath();
    const y = (value) => top + room - (value / most) * room;
    const first = valueAt(series.points, view.from);
    let drawn = first !== null, last = first ?? 0;
    if (drawn) on.moveTo(edge, y(last));
    for (const [at, value] of series.points) {
      if (at < view.from) continue;
      if (at > view.to) break;
      const x = xOf(at, width);
      if (drawn) on.lineTo(x, y(last)); else on.moveTo(x, y(value));
      on.lineTo(x, y(value));
      [drawn, last] = [true, value];
    }
    if (drawn) on.lineTo(xOf(Math.min(END, view.to), width), y(last));
    on.stroke();
    on.setLineDash([]);
    const name = series.name.replaceAll("_", " ");
    const wide = on.measureText(name).width;
    on.globalAlpha = 0.85; on.fillStyle = ink.paper; on.fillRect(named - 2, 2, wide + 24, 13); on.globalAlpha = 1;
    on.setLineDash(DASHES[number % DASHES.length]);
    on.beginPath(); on.moveTo(named, 9); on.lineTo(named + 16, 9); on.stroke();
    on.setLineDash([]);
    on.fillStyle = ink.ink;
    on.fillText(name, named + 19, 9);
    named += wide + 32;
  });
  on.restore();
}

function drawRuler() {
  const [on, width] = sized($("#ruler"), 24), edge = gutter();
  background(on, width, 24);
  const [list, step] = ticks(width);
  on.fillStyle = ink.soft;
  on.fillText("time", 8, 12);
  for (const t of list) {
    const x = xOf(t, width), text = clock(t, step >= 1000);
    if (x < edge - 1 || x > width - 40) continue;
    on.fillStyle = ink.soft; on.fillText(text, x + 3, 12);
  }
  if (PHASES[1]) flag(on, PHASES[1].at, "mended", ink.good, width);
  if (BROKEN) flag(on, BROKEN.at, BROKEN.rule + " broken", ink.bad, width);
  if (view.mouse) flag(on, view.mouse.t, clock(view.mouse.t), ink.soft, width);
}
function flag(on, t, text, colour, width) {
  const x = xOf(t, width), wide = on.measureText(text).width + 8;
  if (x < gutter() || x > width) return;
  const left = x + wide > width ? x - wide : x;
  on.fillStyle = colour; on.fillRect(left, 4, wide, 16);
  on.fillStyle = ink.paper; on.fillText(text, left + 4, 12.5);
}

// The whole run in a strip: who leads, what is broken, and the window that is shown.
function drawOverview() {
  const [on, width] = sized($("#overview"), 34), edge = gutter();
  const scale = (width - edge - 2) / END, x = (t) => edge + t * scale;
  on.fillStyle = ink.calm; on.fillRect(x(CALM), 0, width, 34);
  if (PHASES[2]) { on.fillStyle = ink.quiet; on.fillRect(x(PHASES[2].at), 0, width, 34); }
  on.fillStyle = ink.soft; on.fillText("whole run", 8, 17);
  for (const item of items) {
    if (item.kind === "leading") { on.fillStyle = colourOf(item); on.fillRect(x(item.from), 3, Math.max(1, (item.to - item.from) * scale), 9); }
    if (item.kind === "fault") { on.fillStyle = "#d55e00"; on.globalAlpha = 0.55; on.fillRect(x(item.from), 15, Math.max(1.5, (Math.min(item.to, END) - item.from) * scale), 7); on.globalAlpha = 1; }
    if (item.kind === "node_not_ready") { on.fillStyle = "#3b3f45"; on.globalAlpha = 0.4; on.fillRect(x(item.from), 24, Math.max(1, (item.to - item.from) * scale), 6); on.globalAlpha = 1; }
  }
  if (PHASES[1]) { on.fillStyle = ink.good; on.fillRect(x(PHASES[1].at) - 1, 0, 2, 34); }
  if (BROKEN) { on.fillStyle = ink.bad; on.fillRect(x(BROKEN.at) - 1.5, 0, 3, 34); }
  const [a, b] = [Math.max(edge, x(view.from)), Math.min(width, x(view.to))];
  on.fillStyle = ink.ink; on.globalAlpha = 0.08; on.fillRect(a, 0, b - a, 34); on.globalAlpha = 1;
  on.strokeStyle = ink.accent; on.lineWidth = 2; on.strokeRect(a, 1, Math.max(3, b - a - 1), 32);
}

let due = false;
function draw() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => { due = false; drawNow(); });
}
function drawNow() {
  drawOverview(); drawRuler(); drawLanes();
  $("#view").textContent = `${clock(Math.max(0, view.from))} – ${clock(Math.min(END, view.to))}`;
}

// What lies under the pointer.
function under(px, py) {
  const width = $("#lanes").clientWidth, y = py + $("#scroll").scrollTop;
  const entry = layout.find((entry) => y >= entry.y && y < entry.y + entry.height);
  if (!entry) return {};
  if (!entry.lane || entry.lane.chart || px < gutter()) return { entry, t: tOf(px, width) };
  const t = tOf(px, width), reach = 4 / perMs(width);
  const inside = y - entry.y;
  const tracks = entry.dense
    ? [...entry.lane.tracks.entries()].sort((a, b) => a[0] - b[0]).map(([, track]) => ({ track, any: true }))
    : entry.tracks.filter((track) => inside >= track.y - 1 && inside < track.y + track.height + 1);
  let best = null, nearest = Infinity;
  for (const { track, any, y: top, row } of tracks) {
    for (let at = firstAt(track.items, t - reach); at < track.items.length; at++) {
      const item = track.items[at];
      if (item.from > t + reach) break;
      if (item.to < t - reach) continue;
      if (!any && track.rows > 1 && !item.point && Math.floor((inside - top) / row) !== item.row) continue;
      const far = item.from <= t && item.to >= t ? (item.to - item.from) * 1e-6 : Math.min(Math.abs(item.from - t), Math.abs(item.to - t));
      if (far < nearest || (item.point && far <= reach)) [best, nearest] = [item, item.point ? 0 : far];
    }
    if (best && any) break;
  }
  return { entry, item: best, t };
}
