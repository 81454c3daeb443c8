"use strict";
// The recording as the page needs it: lanes with their items row by row, groups, marks of time.

const R = JSON.parse(document.getElementById("recording").textContent);
const $ = (what, where = document) => where.querySelector(what);

const two = (n) => String(n).padStart(2, "0");
// Virtual time from the beginning: mm:ss.mmm.
function clock(ms, short = false) {
  const sign = ms < 0 ? "-" : "";
  ms = Math.abs(Math.round(ms));
  const text = sign + two(Math.floor(ms / 60000)) + ":" + two(Math.floor(ms / 1000) % 60);
  return short ? text : text + "." + String(ms % 1000).padStart(3, "0");
}
function lasting(ms) {
  if (ms < 1000) return ms + " ms";
  if (ms < 60000) return (ms / 1000).toFixed(ms < 10000 ? 2 : 1) + " s";
  return Math.floor(ms / 60000) + " min " + Math.round((ms % 60000) / 1000) + " s";
}

const END = Math.max(1, R.header.elapsed_ms);
const BROKEN = R.header.violation;

const GROUPS = {
  concerned: "Concerned by the violation", charts: "Curves", faults: "What goes wrong",
  schedulers: "Schedulers", store: "Store", network: "Links and watches cut", nodes: "Nodes",
  workloads: "Workloads", clients: "Clients",
};
// Above so many lanes a group is drawn dense: one thin row for each.
const DENSE_ABOVE = 40;

// Items: [lane, kind, from, to, bad, text, detail].
const KIND = R.kinds;
const items = R.items.map(([lane, kind, from, to, bad, text, detail], number) => ({
  number, lane, kind: KIND[kind].name, track: KIND[kind].track, about: KIND[kind].about,
  from, to: to === null ? from : to, point: to === null, bad: bad === 1,
  text: R.texts[text], detail: R.texts[detail],
}));

const byName = new Intl.Collator("en", { numeric: true }).compare;
const lanes = R.lanes.map((lane, id) => ({
  id, name: lane.name, home: lane.group, group: lane.group, tracks: new Map(), concerned: false,
}));
for (const item of items) {
  const tracks = lanes[item.lane].tracks;
  if (!tracks.has(item.track)) tracks.set(item.track, { items: [], rows: 1 });
  tracks.get(item.track).items.push(item);
}
// Rows of a track: what overlaps lies beneath each other, up to four.
for (const lane of lanes) {
  for (const track of lane.tracks.values()) {
    track.items.sort((a, b) => a.from - b.from || a.to - b.to);
    const ends = [];
    let latest = -1;
    for (const item of track.items) {
      let row = item.point ? 0 : ends.findIndex((end) => end <= item.from);
      if (row < 0) row = ends.length < 4 ? ends.length : 3;
      item.row = row;
      if (!item.point) ends[row] = item.to;
      latest = Math.max(latest, item.to);
      item.latest = latest;
    }
    track.rows = Math.max(1, ends.length);
  }
}
// The first item that may still be there at `t`.
function firstAt(list, t) {
  let low = 0, high = list.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (list[middle].latest < t) low = middle + 1; else high = middle;
  }
  return low;
}

// Whom the violation concerns: named as entities, or in what was seen or expected.
function concernedNames() {
  if (!BROKEN) return new Set();
  const named = new Set(BROKEN.entities);
  const words = new Set((BROKEN.seen.slice(0, 600) + " " + BROKEN.expected).split(/[^\w-]+/));
  for (const lane of lanes) {
    if (named.size >= 12) break;
    if (words.has(lane.name)) named.add(lane.name);
  }
  // Who led the epochs that it speaks of.
  const epochs = new Set((BROKEN.seen + " " + BROKEN.expected).slice(0, 600).match(/epoch:? \d+/g)?.map((text) => /\d+/.exec(text)[0]));
  for (const item of items) {
    if (item.kind === "leading" && epochs.has(/\d+$/.exec(item.text)?.[0])) named.add(lanes[item.lane].name);
  }
  return named;
}
const CONCERNED = concernedNames();
for (const lane of lanes) {
  if (CONCERNED.has(lane.name)) { lane.concerned = true; lane.group = "concerned"; }
}

// Curves of one unit are one lane.
const charts = new Map();
for (const series of R.series) {
  if (!charts.has(series.unit)) {
    charts.set(series.unit, { name: series.unit, group: "charts", chart: [], tracks: new Map(), id: -1 - charts.size });
  }
  charts.get(series.unit).chart.push(series);
}

const groups = Object.entries(GROUPS).map(([id, title]) => {
  const own = id === "charts" ? [...charts.values()] : lanes.filter((lane) => lane.group === id);
  const order = (lane) => (lane.name === "faults" ? 0 : lane.name === "messages" ? 2 : 1);
  own.sort((a, b) => order(a) - order(b) || byName(a.name, b.name));
  return { id, title, lanes: own, folded: false, dense: own.length > DENSE_ABOVE };
}).filter((group) => group.lanes.length > 0);

const PHASES = R.header.phases.map(([at, text]) => ({ at, text }));
const CALM = PHASES.length > 1 ? Math.min(PHASES[1].at, END) : END;

const TONES = {
  violation: ["✖", "violation"], phase: ["§", "phases"], leader: ["♔", "leaders"],
  fault: ["▼", "faults"], mended: ["△", "mended"], node: ["■", "nodes"],
  operator: ["✎", "operator"], failed: ["✕", "failed"], moved: ["→", "moved"],
};
