// What people do: zoom, move, filter, click; and what stands beside the timeline.

const scroller = $("#scroll"), board = $("#lanes");
const element = (tag, text, kind) => {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (kind) made.className = kind;
  return made;
};
let query = "";

function show(from, to) {
  const least = 20, most = END * 1.25 + 1000;
  let span = Math.min(Math.max(to - from, least), most);
  const middle = (from + to) / 2;
  from = Math.max(-0.02 * END, Math.min(middle - span / 2, END * 1.04 - span * 0.2));
  view.from = from;
  view.to = from + span;
  remember();
  if ($("#inview").checked) tellStory();
  draw();
}
const fit = () => show(-0.01 * END, END * 1.03);
const trouble = () => show(-0.01 * CALM, CALM + 0.12 * Math.min(CALM, END - CALM + 1000));
const zoom = (factor, t = (view.from + view.to) / 2) => show(t - (t - view.from) * factor, t + (view.to - t) * factor);
const pan = (share) => { const by = (view.to - view.from) * share; show(view.from + by, view.to + by); };
const toViolation = () => {
  view.at = null;
  show(BROKEN.at - 20000, BROKEN.at + 4000);
  scroller.scrollTop = 0;
};

let remembering = 0;
function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(() => {
    const state = new URLSearchParams({ t: `${Math.round(view.from)}_${Math.round(view.to)}` });
    if (query) state.set("q", query);
    if (view.chosen) state.set("i", view.chosen.number);
    try { history.replaceState(null, "", "#" + state); } catch { /* some browsers refuse that for files */ }
  }, 300);
}

// Header.
function tellHeader() {
  const h = R.header;
  document.title = `Berth simulation, ${h.title}: ${h.verdict}`;
  $("#title").textContent = h.title;
  const verdict = $("#verdict");
  const texts = { clean: "✓ every rule held", crash: "✖ something panicked", liveness: "✖ a liveness rule is broken", safety: "✖ a safety rule is broken" };
  verdict.textContent = BROKEN ? `✖ ${BROKEN.rule} is broken: ${BROKEN.title}` : texts[h.verdict];
  verdict.className = h.verdict === "clean" ? "good" : "bad";
  if (h.about) { $("#about").textContent = h.about; $("#about").hidden = false; }
  const reached = R.tables.find((table) => table.title.startsWith("Reached"));
  const facts = [...h.facts, ["ran", `${clock(h.elapsed_ms, true)} in ${h.steps.toLocaleString("en")} steps`]];
  if (reached) facts.push(["kinds of faults, events and situations reached", String(reached.rows.length)]);
  for (const [name, value] of facts) {
    const pair = element("div");
    pair.append(element("dt", name), element("dd", value));
    $("#facts").append(pair);
  }
  $("#command").textContent = h.command;
  $("#hash").textContent = h.trace_hash;
  $("#copy").onclick = async () => {
    try { await navigator.clipboard.writeText(h.command); $("#copy").textContent = "copied"; }
    catch { getSelection().selectAllChildren($("#command")); }
  };
  const left = R.dropped.map(([what, count]) => `${count.toLocaleString("en")} × ${what}`);
  if (left.length) {
    $("#dropped").textContent = "Too much happened to show everything. Left out: " + left.join("; ") + ".";
    $("#dropped").hidden = false;
  }
  if (h.crash) tellBroken("Something panicked", [["message", h.crash], ["when", clock(END)]], []);
  if (BROKEN) {
    tellBroken(`${BROKEN.rule} (${BROKEN.title}) does not hold`, [
      ["expected", BROKEN.expected], ["seen", BROKEN.seen],
      ["when", `${clock(BROKEN.at)}, step ${BROKEN.step.toLocaleString("en")}`],
    ], [...CONCERNED]);
    $("#to-violation").hidden = false;
  }
}
function tellBroken(title, pairs, names) {
  const box = $("#violation");
  $("h2", box).textContent = "✖ " + title;
  for (const [name, value] of pairs) $("dl", box).append(element("dt", name), element("dd", value));
  const links = $(".links", box);
  if (BROKEN) {
    const button = element("button", "show on the timeline");
    button.onclick = toViolation;
    links.append(button);
  }
  for (const name of names) {
    const button = element("button", name);
    button.title = "show only what is about " + name;
    button.onclick = () => filter(name);
    links.append(button);
  }
  box.hidden = false;
}

// Story.
const shownTones = new Set(Object.keys(TONES));
function tellChips() {
  for (const [tone, [sign, name]] of Object.entries(TONES)) {
    const count = R.story.filter((chapter) => chapter.tone === tone).length;
    if (count === 0) continue;
    const chip = element("button", `${sign} ${name} ${count}`);
    chip.setAttribute("aria-pressed", "true");
    chip.onclick = () => {
      if (!shownTones.delete(tone)) shownTones.add(tone);
      chip.setAttribute("aria-pressed", String(shownTones.has(tone)));
      tellStory();
    };
    $(".chips").append(chip);
  }
}
let told = [];
function tellStory() {
  const list = $("#story ol");
  const words = query.toLowerCase().split(/[\s,]+/).filter(Boolean);
  const only = $("#inview").checked;
  const about = (chapter) => {
    const text = (chapter.text + " " + (chapter.to ?? []).join(" ") + " " + (lanes[chapter.lane]?.name ?? "")).toLowerCase();
    return words.length === 0 || chapter.tone === "violation" || words.some((word) => text.includes(word));
  };
  told = R.story.filter((chapter) => shownTones.has(chapter.tone) && about(chapter)
    && (!only || (chapter.at >= view.from && chapter.at <= view.to)));
  list.replaceChildren(...told.map((chapter, number) => {
    const line = element("li", undefined, chapter.tone), button = element("button");
    const text = element("span", short(chapter.text));
    const to = [...(chapter.to ?? [])].sort(byName);
    if (to.length) {
      const whom = element("span", ": ", "to");
      to.slice(0, 6).forEach((name, at) => whom.append(at > 0 ? ", " : "", element("span", name, "name")));
      if (to.length > 6) whom.append(` and ${to.length - 6} more`);
      text.append(whom);
    }
    button.append(element("time", clock(chapter.at)), element("span", TONES[chapter.tone][0], "sign"), text);
    button.title = TONES[chapter.tone][1] + (to.length > 6 ? ": " + to.join(", ") : "");
    button.onclick = () => goTo(number);
    line.append(button);
    return line;
  }));
  $("#story .none").hidden = told.length > 0;
}
const short = (text) => (text.length > 420 ? text.slice(0, 420) + " …" : text);
let chapterNow = -1;
function goTo(number) {
  const chapter = told[number];
  if (!chapter) return;
  chapterNow = number;
  view.at = chapter.at;
  const span = Math.min(view.to - view.from, 30000);
  const only = $("#inview").checked;
  $("#inview").checked = false;
  show(chapter.at - span * 0.45, chapter.at + span * 0.55);
  $("#inview").checked = only;
  if (chapter.lane !== undefined) reveal(lanes[chapter.lane]);
  for (const line of $("#story ol").children) line.classList.remove("now");
  const line = $("#story ol").children[number];
  line?.classList.add("now");
  line?.scrollIntoView({ block: "nearest" });
}
function reveal(lane) {
  const group = groups.find((group) => group.lanes.includes(lane));
  if (group?.folded) { group.folded = false; arrange(query); }
  let entry = layout.find((entry) => entry.lane === lane);
  if (!entry && query) { filter(""); entry = layout.find((entry) => entry.lane === lane); }
  view.flash = lane;
  if (entry && (entry.y < scroller.scrollTop || entry.y + entry.height > scroller.scrollTop + scroller.clientHeight)) {
    drawNow();
    scroller.scrollTop = entry.y - scroller.clientHeight / 3;
  }
  draw();
}

// Details.
function choose(item, turn = true) {
  view.chosen = item;
  view.flash = null;
  const box = $("#detail .item");
  box.replaceChildren();
  $("#detail .none").hidden = item !== null;
  if (item) {
    const lane = lanes[item.lane];
    const when = item.point ? clock(item.from) : `${clock(item.from)} – ${clock(item.to)} (${lasting(item.to - item.from)})`;
    box.append(element("h3", item.text || item.about), element("p", `${lane.name}: ${item.about}`, "meta"), element("p", when));
    const pairs = element("dl");
    for (const line of item.detail.split("\n").filter(Boolean)) {
      const at = line.indexOf(": ");
      pairs.append(element("dt", at < 0 ? "" : line.slice(0, at)), element("dd", at < 0 ? line : line.slice(at + 2)));
    }
    box.append(pairs);
    const steps = element("div", undefined, "steps");
    const list = lane.tracks.get(item.track).items, at = list.indexOf(item);
    const step = (text, what) => {
      const button = element("button", text);
      button.disabled = !what;
      button.onclick = () => { bring(what); choose(what); };
      steps.append(button);
    };
    step("‹ before", list[at - 1]);
    step("after ›", list[at + 1]);
    const near = element("button", "zoom here");
    const around = Math.max(item.to - item.from, 200);
    near.onclick = () => show(item.from - around * 0.4, item.to + around * 0.4);
    steps.append(near);
    const mine = element("button", "only " + lane.name);
    mine.onclick = () => filter(lane.name);
    steps.append(mine);
    box.append(steps, ...sameMoment(item));
    if (turn) tab("detail");
  }
  remember();
  draw();
}
// What else happened around then.
function sameMoment(item) {
  const found = [];
  const near = 60;
  for (const lane of lanes) {
    for (const track of lane.tracks.values()) {
      for (let at = firstAt(track.items, item.from - near); at < track.items.length; at++) {
        const other = track.items[at];
        if (other.from > item.from + near) break;
        if (other.from >= item.from - near && other !== item && other.text) found.push(other);
      }
    }
  }
  if (found.length === 0) return [];
  found.sort((a, b) => a.from - b.from);
  const list = element("ul");
  for (const other of found.slice(0, 14)) {
    const line = element("li"), button = element("button", `${clock(other.from)}  ${lanes[other.lane].name}: ${other.text}`);
    button.onclick = () => { bring(other); choose(other); };
    line.append(button);
    list.append(line);
  }
  return [element("p", `Around that moment (± ${near} ms)`, "meta"), list];
}
function bring(item) {
  if (item.from < view.from || item.from > view.to) {
    const span = view.to - view.from;
    show(item.from - span * 0.4, item.from + span * 0.6);
  }
  reveal(lanes[item.lane]);
}

function tellTables() {
  for (const table of R.tables) {
    const made = element("table");
    made.append(element("caption", table.title));
    const numeric = table.columns.map((_, at) => table.rows.every((row) => /^-?[\d.,]+( ?%)?$/.test(row[at] ?? "")));
    const row = (cells, tag) => {
      const line = element("tr");
      cells.forEach((cell, at) => line.append(element(tag, cell.replaceAll("_", " "), numeric[at] ? "number" : "")));
      return line;
    };
    made.append(row(table.columns, "th"), ...table.rows.map((cells) => row(cells, "td")));
    $("#tables").append(made);
  }
}
function tellLegend() {
  const box = $(".legend");
  const seen = new Set(items.map((item) => item.kind));
  for (const [group, title] of Object.entries(GROUPS)) {
    const kinds = KIND.filter(({ name }) => seen.has(name)
      && items.some((item) => item.kind === name && lanes[item.lane].home === group));
    if (kinds.length === 0) continue;
    box.append(element("h3", title));
    for (const kind of kinds) {
      const line = element("div"), swatch = element("canvas");
      swatch.width = 26; swatch.height = 12;
      const on = swatch.getContext("2d"), sample = items.find((item) => item.kind === kind.name);
      on.fillStyle = paint(on, colourOf(sample), STYLE[kind.name][1]);
      if (sample.point) drawPoint(on, { ...sample, bad: false }, 13, 0, 12); else on.fillRect(0, 0, 26, 12);
      line.append(swatch, element("span", `${kind.name.replaceAll("_", " ")}: ${kind.about}`));
      box.append(line);
    }
  }
}
function tab(name) {
  for (const button of document.querySelectorAll("[data-tab]")) {
    const on = button.dataset.tab === name;
    button.setAttribute("aria-selected", String(on));
    $("#" + button.dataset.tab).hidden = !on;
  }
}

function filter(text) {
  query = text.trim();
  if ($("#search").value.trim() !== query) $("#search").value = query;
  arrange(query);
  tellStory();
  remember();
  draw();
}

// The pointer.
const where = (event) => { const box = board.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
scroller.addEventListener("wheel", (event) => {
  const [x] = where(event);
  if (x < gutter() || event.shiftKey && Math.abs(event.deltaX) < 1) return;
  event.preventDefault();
  if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) pan(event.deltaX / 900);
  else zoom(Math.exp(Math.max(-120, Math.min(120, event.deltaY)) / 320), tOf(x, board.clientWidth));
}, { passive: false });
let drag = null;
board.addEventListener("pointerdown", (event) => {
  const [x, y] = where(event);
  drag = { x, y, from: view.from, to: view.to, top: scroller.scrollTop, moved: false };
  board.setPointerCapture(event.pointerId);
});
board.addEventListener("pointermove", (event) => {
  const [x, y] = where(event);
  if (drag) {
    if (Math.hypot(x - drag.x, y - drag.y) > 4) drag.moved = true;
    if (drag.moved) {
      board.classList.add("dragging");
      const by = (drag.x - x) / ((board.clientWidth - gutter() - 2) / (drag.to - drag.from));
      scroller.scrollTop = drag.top + drag.y - y;
      show(drag.from + by, drag.to + by);
      hideTip();
      return;
    }
  }
  const hit = under(x, y);
  view.mouse = x > gutter() ? { t: tOf(x, board.clientWidth) } : null;
  tip(hit, event);
  draw();
});
board.addEventListener("pointerup", (event) => {
  board.classList.remove("dragging");
  const clicked = drag && !drag.moved;
  drag = null;
  if (!clicked) return;
  const [x, y] = where(event), { entry, item } = under(x, y);
  if (entry && !entry.lane) {
    const group = entry.group;
    if (x > gutter() && group.lanes.length > DENSE_ABOVE && !group.folded) group.dense = !group.dense;
    else group.folded = !group.folded;
    arrange(query);
    draw();
  } else if (entry?.lane && x < gutter()) {
    view.flash = view.flash === entry.lane ? null : entry.lane;
    draw();
  } else choose(item ?? null, item !== null);
});
board.addEventListener("pointerleave", () => { view.mouse = null; hideTip(); draw(); });
const hideTip = () => { $("#tip").hidden = true; };
function tip({ entry, item, t }, event) {
  const box = $("#tip");
  let lines = null;
  if (item) {
    const lane = lanes[item.lane];
    const when = item.point ? clock(item.from) : `${clock(item.from)}, for ${lasting(item.to - item.from)}`;
    lines = [`${lane.name}: ${item.text || item.about}`, when];
    const answer = /^(answer|why): .*/m.exec(item.detail);
    if (answer) lines.push(answer[0]);
    if (item.text) lines.push(item.about);
  } else if (entry?.lane?.chart && t !== undefined && view.mouse) {
    lines = [clock(t), ...entry.lane.chart.map((series) => `${series.name.replaceAll("_", " ")}: ${valueAt(series.points, t) ?? "–"}`)];
  } else if (entry?.dense) lines = [entry.lane.name];
  if (!lines) { box.hidden = true; return; }
  box.replaceChildren(element("b", lines[0]), "\n" + lines.slice(1).join("\n"));
  box.hidden = false;
  const left = Math.min(event.clientX + 14, innerWidth - box.offsetWidth - 8);
  const above = event.clientY + 18 + box.offsetHeight > innerHeight;
  box.style.left = Math.max(4, left) + "px";
  box.style.top = (above ? event.clientY - box.offsetHeight - 10 : event.clientY + 18) + "px";
}
const strip = $("#overview");
const stripTime = (event) => {
  const box = strip.getBoundingClientRect();
  return ((event.clientX - box.left - gutter()) / (box.width - gutter() - 2)) * END;
};
strip.addEventListener("pointerdown", (event) => {
  strip.setPointerCapture(event.pointerId);
  strip.dataset.from = stripTime(event);
});
strip.addEventListener("pointermove", (event) => {
  if (strip.dataset.from === undefined) return;
  const [a, b] = [Number(strip.dataset.from), stripTime(event)];
  if (Math.abs(b - a) > END / 200) show(Math.min(a, b), Math.max(a, b));
});
strip.addEventListener("pointerup", (event) => {
  const [a, b] = [Number(strip.dataset.from), stripTime(event)];
  delete strip.dataset.from;
  if (Math.abs(b - a) > END / 200) return;
  const half = (view.to - view.from) / 2;
  show(b - half, b + half);
});

// Keys.
addEventListener("keydown", (event) => {
  const typing = event.target.matches?.("input[type=search]");
  if (event.key === "Escape") {
    if (typing) { filter(""); event.target.blur(); } else choose(null);
    return;
  }
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const keys = {
    ArrowLeft: () => pan(-0.15), ArrowRight: () => pan(0.15),
    ArrowUp: () => { scroller.scrollTop -= 60; }, ArrowDown: () => { scroller.scrollTop += 60; },
    "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1 / 0.7), 0: fit, t: trouble,
    v: () => BROKEN && toViolation(), n: () => goTo(chapterNow + 1), p: () => goTo(Math.max(0, chapterNow - 1)),
    "/": () => $("#search").focus(),
  };
  if (keys[event.key]) { event.preventDefault(); keys[event.key](); }
});
const buttons = { in: () => zoom(0.6), out: () => zoom(1 / 0.6), fit, trouble, violation: toViolation };
for (const button of document.querySelectorAll("[data-do]")) button.onclick = buttons[button.dataset.do];
for (const button of document.querySelectorAll("[data-tab]")) button.onclick = () => tab(button.dataset.tab);
$("#search").oninput = (event) => filter(event.target.value);
$("#inview").onchange = tellStory;
scroller.addEventListener("scroll", draw);
new ResizeObserver(drawNow).observe(scroller);
dark.addEventListener("change", () => { readInk(); draw(); });
addEventListener("beforeprint", () => { printing = true; drawNow(); });
addEventListener("afterprint", () => { printing = false; draw(); });

// The beginning.
readInk();
tellHeader();
tellChips();
tellLegend();
tellTables();
const state = new URLSearchParams(location.hash.slice(1));
query = state.get("q") ?? "";
$("#search").value = query;
arrange(query);
const window_ = /^(-?\d+)_(-?\d+)$/.exec(state.get("t") ?? "");
if (window_) show(Number(window_[1]), Number(window_[2]));
else if (BROKEN || END <= CALM) fit();
else trouble();
tellStory();
const linked = items[Number(state.get("i") ?? NaN)];
if (linked) { bring(linked); choose(linked); }
if (BROKEN) requestAnimationFrame(() => $("#story ol").lastElementChild?.scrollIntoView({ block: "end" }));
drawNow();
