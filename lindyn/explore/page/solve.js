// Numerical methods, without equations of the theory: an integrator for dy/dt = f(y), explicit
// and, for stiff problems, implicit; and the pieces of a function's graph in a window.

// Coefficients of Dormand and Prince 5(4): stages, error estimate, continuous extension.
const STAGES = [
  [1 / 5],
  [3 / 40, 9 / 40],
  [44 / 45, -56 / 15, 32 / 9],
  [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729],
  [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656],
  [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84],
];
const ERROR = [71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40];
const BETWEEN = [
  -12715105075 / 11282082432,
  0,
  87487479700 / 32700410799,
  -10690763975 / 1880347072,
  701980252875 / 199316789632,
  -1453857185 / 822651844,
  69997945 / 29380423,
];

// Coefficients of RODAS: A gives the point at which the field is evaluated after each stage
// (the last one is the new state), C couples each stage to the earlier ones.
const LAST = [1.221224509226641, 6.019134481288629, 12.53708332932087, -0.687886036105895];
const RODAS_A = [
  [1.544],
  [0.9466785280815826, 0.2557011698983284],
  [3.314825187068521, 2.896124015972201, 0.9986419139977817],
  LAST,
  [...LAST, 1],
  [...LAST, 1, 1],
];
const RODAS_C = [
  [],
  [-5.6688],
  [-2.430093356833875, -0.2063599157091915],
  [-0.1073529058151375, -9.594562251023355, -20.47028614809616],
  [7.496443313967647, -10.24680431464352, -33.99990352819905, 11.7089089320616],
  [
    8.083246795921522, -7.981132988064893, -31.52159432874371, 16.31930543123136,
    -6.058818238834054,
  ],
];

// Integrates from y0 over the time t1 (backward if negative). Returns the times and the states:
// the initial one, one after each step, and those between for drawing. `how` has rtol; atol, a
// number or one per key; the `longest` step size; `most`, the largest number of steps; the
// event `until(y)`; and `pieces(y, next)`, into how many pieces a step is cut for drawing.
function integrate(field, y0, t1, how = {}) {
  const { rtol = 1e-8, atol = 1e-12, longest = Infinity, most = 20000 } = how;
  const { until = () => false, pieces = () => 1 } = how;
  const keys = Object.keys(y0);
  const least = keys.map((key) => (typeof atol === "number" ? atol : atol[key]));
  const n = keys.length;
  const named = (y, into) => {
    for (let i = 0; i < n; i++) into[keys[i]] = y[i];
    return into;
  };
  const state = (y) => named(y, { ...y0 });
  const sign = t1 < 0 ? -1 : 1;
  const scratch = { ...y0 };
  const rate = (y) => {
    const dy = field(named(y, scratch));
    const k = new Array(n);
    for (let i = 0; i < n; i++) k[i] = sign * dy[keys[i]];
    return k;
  };
  const sizes = (y, next) => {
    const size = new Array(n);
    for (let i = 0; i < n; i++) {
      size[i] = least[i] + rtol * Math.max(Math.abs(y[i]), Math.abs(next[i]));
    }
    return size;
  };

  const end = Math.abs(t1);
  const found = { t: [0], y: [y0], ended: "time" };
  let y = keys.map((key) => y0[key]);
  let k1 = rate(y);
  let t = 0;
  let h = Math.min(longest, end, firstStep(y, k1, sizes(y, y), rtol, end));
  let step = explicitStep;
  let stiff = 0;
  for (let tries = 0; t < end; tries++) {
    if (tries === most || !(h > 1e-15 * t) || ![...y, ...k1].every(Number.isFinite)) {
      found.ended = tries === most ? "limit" : "blown";
      break;
    }
    const last = h >= end - t;
    const made = step(rate, y, k1, last ? end - t : h, sizes, rtol);
    const taken = last ? end - t : h;
    h = Math.min(longest, taken * made.factor);
    if (!(made.error <= 1)) continue;
    const next = state(made.y);
    const cuts = made.between ? Math.min(pieces(found.y[found.y.length - 1], next), 32) : 1;
    for (let cut = 1; cut < cuts; cut++) {
      found.t.push(sign * (t + (taken * cut) / cuts));
      found.y.push(state(made.between(cut / cuts)));
    }
    t = last ? end : t + taken;
    y = made.y;
    k1 = made.rate;
    found.t.push(sign * t);
    found.y.push(next);
    if (until(next)) {
      found.ended = "until";
      break;
    }
    stiff = made.stiff ? stiff + 1 : Math.max(stiff - 0.5, 0);
    if (stiff > 12) step = implicitStep;
  }
  return found;
}

function firstStep(y, k, size, rtol, end) {
  let h = Infinity;
  for (let i = 0; i < y.length; i++) {
    const moves = Math.abs(k[i]) * rtol;
    if (moves > 0) h = Math.min(h, (0.02 * size[i]) / moves);
  }
  return Math.max(h, 1e-9 * end);
}

function explicitStep(rate, y, k1, h, sizes) {
  const n = y.length;
  const k = [k1];
  let before, at;
  for (const row of STAGES) {
    before = at;
    at = new Array(n);
    for (let i = 0; i < n; i++) {
      let sum = 0;
      for (let j = 0; j < row.length; j++) sum += row[j] * k[j][i];
      at[i] = y[i] + h * sum;
    }
    k.push(rate(at));
  }
  const size = sizes(y, at);
  const mixed = (weights, i) => {
    let sum = 0;
    for (let j = 0; j < 7; j++) sum += weights[j] * k[j][i];
    return h * sum;
  };
  let error = 0;
  let bent = 0;
  let moved = 0;
  for (let i = 0; i < n; i++) {
    error = worst(error, Math.abs(mixed(ERROR, i)) / size[i]);
    bent += ((k[6][i] - k[5][i]) / size[i]) ** 2;
    moved += ((at[i] - before[i]) / size[i]) ** 2;
  }
  const between = (x) =>
    y.map((value, i) => {
      const change = at[i] - value;
      const early = h * k1[i] - change;
      const late = change - h * k[6][i] - early;
      return (
        value + x * (change + (1 - x) * (early + x * (late + (1 - x) * mixed(BETWEEN, i))))
      );
    });
  const stiff = h * h * bent > 3.25 ** 2 * moved && moved > 0;
  return { y: at, rate: k[6], error, factor: resized(error, 1 / 5), between, stiff };
}

// One step of Hairer and Wanner's RODAS 4(3), linearly implicit, for stiff problems.
function implicitStep(rate, y, k1, h, sizes, rtol) {
  const n = y.length;
  const size = sizes(y, y);
  const matrix = y.map(() => new Array(n));
  for (let j = 0; j < n; j++) {
    const nudge = (1e-5 * size[j]) / rtol;
    const up = rate(y.map((value, i) => (i === j ? value + nudge : value)));
    const down = rate(y.map((value, i) => (i === j ? value - nudge : value)));
    for (let i = 0; i < n; i++) {
      matrix[i][j] = (i === j ? 4 / h : 0) - (up[i] - down[i]) / (2 * nudge);
    }
  }
  const k = [];
  let at = y;
  let before = k1;
  for (let stage = 0; stage < 6; stage++) {
    const pull = RODAS_C[stage];
    k.push(
      solved(
        matrix,
        before.map((f, i) => pull.reduce((sum, c, j) => sum + (c * k[j][i]) / h, f)),
      ),
    );
    const ahead = RODAS_A[stage];
    at = y.map((value, i) => ahead.reduce((sum, a, j) => sum + a * k[j][i], value));
    before = rate(at);
  }
  const limits = sizes(y, at);
  const error = k[5].map((e, i) => Math.abs(e) / limits[i]).reduce(worst, 0);
  return { y: at, rate: before, error, factor: resized(error, 1 / 4) };
}

const worst = (a, b) => (b <= a ? a : b); // the larger number; NaN counts as larger than all
const resized = (error, power) =>
  error === 0 ? 5 : Math.min(5, Math.max(0.2, 0.9 * error ** -power)) || 0.2;

function solved(matrix, right) {
  const rows = matrix.map((row, i) => [...row, right[i]]);
  const n = rows.length;
  for (let j = 0; j < n; j++) {
    let pivot = j;
    for (let i = j + 1; i < n; i++) {
      if (Math.abs(rows[i][j]) > Math.abs(rows[pivot][j])) pivot = i;
    }
    [rows[j], rows[pivot]] = [rows[pivot], rows[j]];
    for (let i = j + 1; i < n; i++) {
      const factor = rows[i][j] / rows[j][j];
      for (let l = j; l <= n; l++) rows[i][l] -= factor * rows[j][l];
    }
  }
  const x = new Array(n);
  for (let i = n - 1; i >= 0; i--) {
    let sum = rows[i][n];
    for (let j = i + 1; j < n; j++) sum -= rows[i][j] * x[j];
    x[i] = sum / rows[i][i];
  }
  return x;
}

// The pieces of the graph of f inside the window. Each piece that leaves it ends with a point
// just outside.
function inside(f, xs, window) {
  const [low, high] = window.y;
  const beyond = (y) =>
    Number.isFinite(y) ? Math.max(low - y, y - high) / (high - low) : Infinity;
  const leaving = (x, out) => {
    let [y, far] = [f(x), f(out)];
    for (let i = 0; i < 60 && !(beyond(far) > 0 && beyond(far) <= 0.05); i++) {
      const middle = (x + out) / 2;
      const at = f(middle);
      if (beyond(at) > 0) [out, far] = [middle, at];
      else [x, y] = [middle, at];
    }
    return [out, Math.abs(far - y) > high - low ? y : far];
  };
  const pieces = [];
  let piece = [];
  const add = ([x, y]) => piece.push([x, y]);
  const close = () => {
    if (piece.length > 1) pieces.push([piece.map((at) => at[0]), piece.map((at) => at[1])]);
    piece = [];
  };
  xs.forEach((x, i) => {
    if (!(beyond(f(x)) <= 0)) return;
    if (i > 0 && beyond(f(xs[i - 1])) > 0) add(leaving(x, xs[i - 1]));
    add([x, f(x)]);
    if (i + 1 === xs.length) close();
    else if (beyond(f(xs[i + 1])) > 0) {
      add(leaving(x, xs[i + 1]));
      close();
    }
  });
  close();
  return pieces;
}
