// Computes everything that the page draws and reports for a state.

const POINTS = 201; // number of points on a curve that is a function of p
const ARROWS = 13; // number of arrows along each side of the plane

// Reuses the results of `last` that the change of state does not affect. It returns the same
// objects for these, so that a comparison by identity tells what is new.
function explored(state, last) {
  if (state.regime === "cosine") return exploredNetwork(state, last);
  const moving = state.regime === "ema";
  const still = moving ? null : planeAt(state, state.params, last);
  const known = state.regime === "fixed" ? { fixed: still.fixed, arms: still.arms } : {};
  const runs = state.starts.map((start) => launched(state, start, known, last));
  const plane = still ?? planeAt(state, shownParams(state, runs), last);
  return { ...plane, plane, runs, critical: critical_decay(state.params) };
}

// With a cosine loss all starts are modes of one network, so their equations are coupled.
function exploredNetwork(state, last) {
  const { params, starts, time, window } = state;
  const fate = fates(starts, params);
  const plane = planeAt(state, keeping(fate.m, params), last);
  const key = JSON.stringify([state.regime, params, starts, time, window]);
  const same = last && last.runs.length && last.runs[0].key === key;
  const anew = () => together(starts, params, time, window, fate);
  const runs = same ? last.runs : anew().map((run) => ({ key, ...run }));
  return { ...plane, plane, fate, runs };
}

function planeAt(state, params, last) {
  const key = JSON.stringify([state.regime, params, state.rule, state.window]);
  if (last && last.key === key) return last.plane;
  return { ...planeOf({ ...state, params }), key, params };
}

function launched(state, start, known, last) {
  const { regime, params, rule, time, window } = state;
  const key = JSON.stringify([regime, params, rule, start, time, window]);
  const same = last && last.runs.find((run) => run.key === key);
  return same ?? { key, ...launch(regime, params, rule, start, time, window, known) };
}

// The point of a start in the plane. With DirectPred, s determines p.
function placed([p, s], { regime, rule }) {
  return regime === "directpred" ? [predictor(s, rule), s] : [p, s];
}

// With an EMA target, the plane is drawn for the current tau of the first trajectory.
function shownParams({ regime, params, now }, runs) {
  if (regime !== "ema" || !runs.length) return params;
  return { ...params, tau: at(runs[0].forward, "tau", now) };
}

// Linear interpolation of a trajectory at a time.
function at(forward, name, time) {
  const { t } = forward;
  let low = 0;
  let high = t.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (t[middle] <= time) low = middle;
    else high = middle;
  }
  const part = t[high] > t[low] ? Math.min((time - t[low]) / (t[high] - t[low]), 1) : 0;
  return forward[name][low] + part * (forward[name][high] - forward[name][low]);
}

function planeOf(state) {
  const xs = spaced(state.window.x, POINTS);
  if (state.regime === "directpred") return predictedPlane(state, xs);
  const still = state.regime === "cosine" && !(state.params.tau > 0);
  return still ? emptyPlane(state, xs) : freePlane(state, xs);
}

// The plane if no mode of the network reaches p > 0: then an additional mode has no goal.
function emptyPlane({ params }, xs) {
  return {
    xs,
    fixed: { p: [], s: [], kind: [] },
    arms: [],
    edge: xs.map(() => 0),
    edge_on_parabola: -Infinity,
    arrows: { x0: [], y0: [], x1: [], y1: [] },
    nullclines: { p: [], s: [] },
    resting: [],
    curve: [xs, xs.map((p) => parabola_s(p, params))],
    line: { x: xs, y: xs.map(() => NaN) },
  };
}

function freePlane({ params, window }, xs) {
  const fixed = fixed_points(params);
  const both = arms(params, window, fixed);
  const below = basin(params, window, fixed, both, xs);
  return {
    xs,
    fixed,
    arms: both,
    edge: below,
    share: share(below, window),
    edge_on_parabola: edge(params, fixed, both),
    arrows: arrows(params, window, ARROWS),
    nullclines: nullclines(params, window, xs),
    resting: resting(params, window, xs),
    curve: [xs, xs.map((p) => parabola_s(p, params))],
    line: { x: xs, y: xs.map((p) => parabola(p, params)) },
  };
}

// With DirectPred, a mode moves only along the curve p = p(s).
function predictedPlane({ params, rule, window }, xs) {
  const fixed = directset_fixed_points(params, rule);
  const least = directset_edge(params, rule);
  const below = xs.map(() => least);
  const heights = spaced(window.y, POINTS);
  const rates = heights.map((s) => predicted(s, params, rule));
  const across = (p) => [[p, p], window.y];
  return {
    xs,
    fixed: { ...fixed, p: fixed.s.map((s) => predictor(s, rule)) },
    arms: [],
    edge: below,
    share: share(below, window),
    edge_on_parabola: least,
    arrows: alongCurve(params, rule, window),
    nullclines: { p: [], s: decay_roots(params).filter(Number.isFinite).map(across) },
    resting: [],
    curve: [heights.map((s) => predictor(s, rule)), heights],
    line: { x: heights, y: rates },
  };
}

// Arrows a little beside the curve, since other curves are drawn on it.
function alongCurve(params, rule, window) {
  const found = { x0: [], y0: [], x1: [], y1: [] };
  const step = (window.y[1] - window.y[0]) / 20;
  const beside = (window.x[1] - window.x[0]) / 40;
  for (const s of spaced(window.y, ARROWS).slice(1)) {
    const way = (Math.sign(predicted(s, params, rule)) * step) / 2;
    found.x0.push(predictor(Math.max(s - way, 0), rule) + beside);
    found.x1.push(predictor(Math.max(s + way, 0), rule) + beside);
    found.y0.push(s - way);
    found.y1.push(s + way);
  }
  return found;
}

function spaced([low, high], count) {
  return Array.from({ length: count }, (_, i) => low + ((high - low) * i) / (count - 1));
}
