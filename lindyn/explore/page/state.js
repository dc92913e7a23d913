// The state of the page as a plain object, and its conversion to and from the address's hash.

const given = JSON.parse(document.getElementById("given").textContent);

const REGIMES = {
  fixed: "fixed target",
  ema: "EMA target",
  directpred: "DirectPred",
  cosine: "cosine loss",
};

// The quantity of each slider. `least` and `most` are the limits of `lindyn phase`; `low` and
// `high` are the ends of the slider, and numbers beyond these ends can be typed.
const CONTROLS = {
  wd: { symbol: "η", meaning: "weight decay", low: 0, high: 0.5, least: 0, most: 1e3 },
  "wd-p": {
    symbol: "η_p",
    meaning: "decay, predictor",
    low: 0,
    high: 0.5,
    least: 0,
    most: 1e3,
  },
  "wd-s": { symbol: "η_s", meaning: "decay, encoder", low: 0, high: 0.5, least: 0, most: 1e3 },
  "alpha-p": {
    symbol: "α_p",
    meaning: "predictor's rate",
    low: 0.1,
    high: 10,
    log: true,
    most: 1e6,
  },
  sigma2: { symbol: "σ²", meaning: "augmentation", low: 0, high: 2, least: 0, most: 1e6 },
  tau: { symbol: "τ", meaning: "target ratio", low: 0.02, high: 1, most: 1 },
  beta: { symbol: "β", meaning: "rate of the EMA", low: 0.01, high: 10, log: true, most: 1e6 },
  eps: { symbol: "ε", meaning: "DirectPred's boost", low: 0, high: 0.5, least: 0, most: 1e3 },
  time: { symbol: "t", meaning: "time shown", low: 1, high: 1000, log: true, most: 1e5 },
};
const KEYS = {
  "wd-p": "eta_p",
  "wd-s": "eta_s",
  "alpha-p": "alpha_p",
  sigma2: "sigma2",
  tau: "tau",
  beta: "beta",
};
const MOST_STARTS = given.most_starts;

const read = (state, flag) => {
  if (flag === "wd") return state.params.eta_s;
  if (flag === "eps") return state.rule.eps;
  return flag === "time" ? state.time : state.params[KEYS[flag]];
};

const change = (flag, value) => {
  if (flag === "wd") return { params: { eta_p: value, eta_s: value } };
  if (flag === "eps") return { rule: { eps: value } };
  return flag === "time" ? { time: value } : { params: { [KEYS[flag]]: value } };
};

// tau = 0 is valid only with an EMA target, which then moves away from zero.
const valid = (flag, value, regime) => {
  const { least, most } = CONTROLS[flag];
  if (!Number.isFinite(value) || value > most) return false;
  if (flag.startsWith("wd") && value > 0 && value < 1e-12) return false;
  // The sigma2 of a run with a cosine loss contains norms (movie.py), and may be negative.
  if (flag === "sigma2" && given.run) return value > -1;
  return least === 0 || (flag === "tau" && regime === "ema") ? value >= 0 : value > 0;
};

const merge = (state, changes) => {
  const next = {
    ...state,
    ...changes,
    params: { ...state.params, ...changes.params },
    rule: { ...state.rule, ...changes.rule },
  };
  const asked = Object.keys(changes).filter((name) => name !== "now" && name !== "record");
  if (asked.length && !asked.includes("preset")) next.preset = "";
  if (next.regime !== "ema" && next.params.tau === 0) next.params.tau = 1;
  if (next.params.eta_p !== next.params.eta_s) next.split = true;
  // With a fitted window, the plane would move under the pointer that drags a start.
  const shifts = changes.starts && next.regime === "cosine";
  if ((changes.window || shifts) && changes.fitted === undefined) next.fitted = false;
  const auto = fitted(next);
  const { x, y } = next.fitted ? auto : next.window;
  next.window = { x: x ?? auto.x, y: y ?? auto.y };
  next.now = Math.min(next.now, next.time);
  return next;
};

// The window that shows all fixed points. With an EMA target these are the fixed points at
// tau = 1; for a network the window holds the initial and the final points of its modes.
const fitted = ({ regime, params, starts }) => {
  if (regime === "cosine") return withRun(withNetwork(starts, params));
  if (regime === "ema") return withRun(window({ ...params, tau: 1 }));
  const predicted = { ...params, alpha_p: 1, eta_p: params.eta_s };
  return withRun(window(regime === "fixed" ? params : predicted));
};

const withNetwork = (starts, params) => {
  const { lives, m } = fates(starts, params);
  const goal = m > 0 ? m : 1;
  const ends = starts.filter((_, i) => lives[i] && m > 0);
  const rest = ends.map(([p, s]) => parabola_s(m, params) + invariant(p, s, params));
  const { x, y } = window(keeping(goal, params));
  const [p, s] = [starts.map(([p]) => p), starts.map(([, s]) => s)];
  return { x: holding(x, p), y: [y[0], holding(y, [...s, ...rest])[1]] };
};

// Extends a range so that it holds all of `values`, with a margin.
const holding = ([low, high], values) => {
  const [least, most] = [Math.min(low, ...values), Math.max(high, ...values)];
  const room = 0.03 * (most - least);
  return [least < low ? least - room : low, most > high ? most + room : high];
};

const short = (x) => String(Number(x.toPrecision(6)));

const toHash = (state) => {
  const words = [`regime=${state.regime}`];
  const decays = state.split ? ["wd-p", "wd-s"] : ["wd"];
  for (const flag of [...decays, "alpha-p", "sigma2", "tau", "beta", "eps", "time"]) {
    words.push(`${flag}=${short(read(state, flag))}`);
  }
  const { x, y } = state.window;
  if (!state.fitted) words.push(`p-range=${x.map(short)}`, `s-range=${y.map(short)}`);
  const points = state.starts.map((start) => start.map(short).join(","));
  if (points.length) words.push(`start=${points.join(";")}`);
  return words.join("&");
};

// Reads a hash. Returns the state, with defaults from `base`, and the invalid words.
const fromHash = (hash, base) => {
  const words = hash.replace(/^#/, "").split("&").filter(Boolean);
  const pairs = words
    .map((word) => word.split("="))
    .map(([flag, text]) => [flag, decoded(text)]);
  // The regime is read first, since the limits of tau depend on it.
  pairs.sort((a, b) => (b[0] === "regime") - (a[0] === "regime"));
  const [wrong, ranges] = [[], {}];
  let state = { ...base, starts: [], fitted: true, split: false, now: 0 };
  for (const [flag, text] of pairs) {
    const { range, ...changes } = understood(flag, text, state.regime) || { wrong: true };
    if (changes.wrong) wrong.push(`${flag}=${text}`);
    else state = merge(state, changes);
    Object.assign(ranges, range);
  }
  if (Object.keys(ranges).length) state = merge(state, { window: ranges });
  return { state: merge(state, {}), wrong };
};

// The change of state that one word of the hash describes, or false if it is invalid.
const understood = (flag, text, regime) => {
  const numbers = text.split(",").map((word) => (word.trim() ? Number(word) : NaN));
  const axis = { "p-range": "x", "s-range": "y" }[flag];
  if (flag === "regime") return Object.hasOwn(REGIMES, text) && { regime: text };
  if (flag === "start") return starts(text) && { starts: starts(text), fitted: true };
  if (axis) return drawable(numbers, axis === "y") && { range: { [axis]: numbers } };
  const known = Object.hasOwn(CONTROLS, flag) && numbers.length === 1;
  const split = flag === "wd-p" || flag === "wd-s" ? { split: true } : {};
  return known && valid(flag, numbers[0], regime) && { ...change(flag, numbers[0]), ...split };
};

const decoded = (text = "") => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

const starts = (text) => {
  const points = text.split(";").map((point) => point.split(",").map(Number));
  const fine = points.every((point) => point.length === 2 && canStart(...point));
  return fine && points.length <= MOST_STARTS ? points : null;
};

const canStart = (p, s) => Math.abs(p) <= 1e6 && s >= 0 && s <= 1e6;

const drawable = ([low, high, ...more], fromZero) =>
  !more.length &&
  high - low >= Math.max(1e-9, 1e-6 * Math.max(Math.abs(low), Math.abs(high))) &&
  Math.max(Math.abs(low), Math.abs(high)) <= 1e6 &&
  !(fromZero && low < 0);
