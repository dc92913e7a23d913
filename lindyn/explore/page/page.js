// The entry point: holds the state and its results, and redraws at most once per frame.

const LASTS = 8; // seconds that the play button takes from begin to end
let first = null; // the state in which the page was built
let state = null;
let found = null;
let cross = null; // cross-hair of the keyboard, [p, s]
let asked = 0; // id of the requested animation frame, or 0
let playing = null;
let written = 0;

function update(changes) {
  state = merge(state, typeof changes === "function" ? changes(state) : changes);
}

function set(changes) {
  update(changes);
  redraw();
}

const act = {
  get state() {
    return state;
  },
  // Changes the state at once, and the picture in the next frame.
  set(changes) {
    update(changes);
    if (!asked) asked = requestAnimationFrame(redraw);
  },
  replace(whole) {
    stop();
    act.set({ ...whole, now: 0 });
  },
  at: () => cross,
  cross(point) {
    cross = point;
    byId("pointer").setAttribute("aria-live", point ? "polite" : "off");
    if (point) act.point(point);
    show({ plane: drawCross() });
  },
  point(point) {
    if (point) write("pointer", pointer(seen(), ...point, found));
  },
};

// The state with the parameters of the drawn plane: its tau is the current one of an EMA
// target, or the m of a network.
const seen = () => ({ ...state, params: found.params });

function drawCross() {
  const look = { size: 26, marker: "cross", color: "ink", hollow: true };
  const here = cross ? [{ x: cross[0], y: cross[1], ...look }] : [];
  return { cross: markers(here, state.window) };
}

let drawn = {}; // the inputs of the last redraw

function redraw() {
  cancelAnimationFrame(asked);
  asked = 0;
  found = explored(state, found);
  const anew = (name, value) => drawn[name] !== value && ((drawn[name] = value), true);
  const changed = { plane: {}, course: {}, margin: {} };
  const ranges = {};
  const replaned = anew("plane", found.plane);
  if (replaned) {
    const line = drawLine(found, state);
    Object.assign(ranges, { plane: state.window, line: line.range });
    Object.assign(changed, { plane: { ...drawPlane(found, state.window), ...drawCross() } });
    changed.line = line.layers;
  }
  const moved = anew("runs", found.runs.map((run) => run.key).join() + state.time);
  if (moved) {
    drawn.times = drawTimes(found.runs, state);
    Object.assign(ranges, drawn.times.ranges);
    Object.assign(changed.plane, drawRuns(found.runs, state));
    Object.assign(changed, drawn.times.layers);
  }
  if (anew("now", state.now) || moved) {
    changed.plane.dots = drawNow(found.runs, state);
    changed.plane.m = drawM(found.runs, state);
    for (const [name, { y }] of Object.entries(drawn.times.ranges)) {
      changed[name].now = { x: [state.now, state.now], y };
    }
    byId("now").value = state.now / state.time;
    byId("now-text").textContent = `t = ${state.now.toPrecision(3)}`;
  }
  if (given.run && (anew("record", state.record) || replaned)) {
    Object.assign(changed.plane, drawRun(state));
  }
  const { now, ...rest } = state;
  const told = anew("told", JSON.stringify(rest));
  return show(changed, ranges).then(() => {
    if (told) tell();
    if (replaned || moved) showLegend(state, found);
  });
}

// Called after the plots are drawn, which would otherwise wait for the layout of the text.
function tell() {
  showControls(state);
  showWords(state, found);
  if (given.run) showRun(state);
  remember();
}

// Writes the state into the address, at most a few times per second. The frame of a notebook
// has no address.
function remember() {
  clearTimeout(written);
  written = setTimeout(() => {
    try {
      history.replaceState(null, "", `#${toHash(state)}`);
    } catch {
      written = 0;
    }
  }, 250);
}

function play(advance, button) {
  stop();
  let last = performance.now();
  const frame = (time) => {
    const goes = advance(Math.min((time - last) / 1000, 0.1) / LASTS);
    last = time;
    playing.frame = goes ? requestAnimationFrame(frame) : 0;
    if (!goes) stop();
  };
  button.textContent = "⏸";
  button.setAttribute("aria-label", "pause");
  playing = { button, frame: requestAnimationFrame(frame) };
}

function stop() {
  if (!playing) return;
  cancelAnimationFrame(playing.frame);
  playing.button.textContent = "▶";
  playing.button.setAttribute("aria-label", "play");
  playing = null;
}

function onPlay(button, start, advance) {
  button.addEventListener("click", () => {
    if (playing?.button === button) return stop();
    start();
    play(advance, button);
  });
}

function listenToButtons() {
  const forward = (part) => {
    set({ now: Math.min(state.now + part * state.time, state.time) });
    return state.now < state.time;
  };
  onPlay(byId("play"), () => state.now >= state.time && set({ now: 0 }), forward);
  byId("now").addEventListener("input", () => act.set({ now: byId("now").value * state.time }));
  byId("link").addEventListener("click", (event) => {
    copied(`${location.href.split("#")[0]}#${toHash(state)}`, event.target);
  });
  byId("link").hidden = location.protocol === "about:"; // in a notebook
  byId("copy").addEventListener("click", (event) => copied(command(state), event.target));
  for (const type of ["png", "svg"]) byId(type).addEventListener("click", () => download(type));
  if (!given.run) return;
  let record = 0;
  const last = given.run.epochs.length - 1;
  const onward = (part) => {
    record = Math.min(record + part * last, last);
    set(recordAt(record));
    return record < last;
  };
  onPlay(byId("run-play"), () => (record = state.record === last ? 0 : state.record), onward);
}

function followTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const apply = (name) => {
    document.documentElement.dataset.theme = name;
    recolor();
    drawn = {};
    return redraw();
  };
  const system = () => apply(dark.matches ? "dark" : "light");
  const now = () => document.documentElement.dataset.theme;
  dark.addEventListener("change", system);
  byId("theme").addEventListener("click", () => apply(now() === "dark" ? "light" : "dark"));
  return system();
}

function readHash() {
  const { state: read, wrong } = fromHash(location.hash, first);
  const left = `Left out of the link, since it makes no sense: ${wrong.join(", ")}`;
  write("notice", wrong.length ? left : "");
  byId("notice").hidden = !wrong.length;
  act.replace(read);
}

async function open() {
  buildControls(act);
  openRun(act);
  first = merge({ now: 0, ...given.state }, {});
  if (given.run) first = merge(first, recordAt(first.record)(first));
  state = first;
  await openFigures();
  if (location.hash.length > 1) readHash();
  await followTheme();
  listen(act);
  listenToButtons();
  addEventListener("hashchange", readHash);
  const views = Object.entries(figures).map(([name, { view }]) => [name, view]);
  globalThis.lindyn = {
    get state() {
      return state;
    },
    get found() {
      return found;
    },
    set,
    redraw: () => void redraw(),
    views: Object.fromEntries(views),
  };
  document.documentElement.dataset.ready = "";
  performance.mark("lindyn-ready");
}

open();
