// Draws the modes of a training run over the plane, record by record.

const TRAIL = 12; // length of a trail, in records

function openRun(act) {
  const { run } = given;
  if (!run) return;
  byId("run").hidden = false;
  byId("run-name").textContent = run.name;
  byId("epoch").max = run.epochs.length - 1;
  byId("run-notes").append(...run.notes.map((text) => element("li", {}, text)));
  byId("epoch").addEventListener("input", () => act.set(recordAt(Number(byId("epoch").value))));
  byId("follow").addEventListener("change", () => {
    act.set((state) => recordAt(state.record)({ ...state, follow: byId("follow").checked }));
  });
}

// The change of state that shows record `i`. With `follow` it also takes the run's parameters
// at that record.
const recordAt = (i) => (state) => {
  const record = Math.min(Math.max(Math.round(i), 0), given.run.epochs.length - 1);
  if (!state.follow) return { record, follow: false };
  const entries = Object.entries(given.run.params[record]);
  const params = Object.fromEntries(entries.filter(([, value]) => Number.isFinite(value)));
  return { record, follow: true, split: params.eta_p !== params.eta_s, params };
};

function showRun({ record, follow }) {
  byId("epoch").value = record;
  byId("epoch-now").textContent = given.run.epochs[record].toPrecision(3);
  byId("follow").checked = follow;
}

function drawRun({ record, window }) {
  const { p, s } = given.run;
  const records = p.map((_, i) => i).slice(Math.max(record - TRAIL, 0), record + 1);
  const trail = (mode) => [records.map((i) => p[i][mode]), records.map((i) => s[i][mode])];
  const dot = (x, mode) => ({ x, y: s[record][mode], ...MODE });
  return {
    trails: joined(p[record].map((_, mode) => trail(mode))),
    modes: markers(p[record].map(dot), window),
  };
}

// Extends the window so that it holds the run's modes at all records.
function withRun({ x, y }) {
  if (!given.run) return { x, y };
  const reach = (range, values) => holding(range, values.flat().filter(Number.isFinite));
  return { x: reach(x, given.run.p), y: [Math.max(y[0], 0), reach(y, given.run.s)[1]] };
}
