// Separatrix, basin, nullclines and trajectories of the flow, with the generated equations; the
// counterpart of portrait.py and flow_lines.py in lindyn/phase. One file, as it mirrors those.

const SPACING = 0.0125; // longest step along a separatrix arm, in window widths
const REACH = 3; // length of a separatrix arm, in window widths
const BOUND = 0.5; // trajectories farther outside are ignored, in window widths
const STRETCH = 0.02; // longest distance between points of a trajectory, in window widths

// Whether the saddle p-* exists as an isolated fixed point. At the critical decay it is a fold,
// which has arms too.
function hasSaddle(params, fixed) {
  const exists = !fixed.jacobian[1].flat().some(Number.isNaN);
  return Math.min(params.eta_s, params.eta_p) > 0 && exists;
}

// The two arms of the saddle's stable manifold, to its right and to its left, integrated in
// (p, log s).
function arms(params, window, fixed) {
  if (!hasSaddle(params, fixed)) return [];
  const saddle = [fixed.p[1], fixed.s[1]];
  const span = (ends, at) => Math.max(ends[1], at) - Math.min(ends[0], at);
  const spans = [span(window.x, saddle[0]), span(window.y, saddle[1])];
  const stable = [fixed.jacobian[1][1][1] - fixed.real[1][1], -fixed.jacobian[1][1][0]];
  const size = Math.hypot(...stable.map((v, i) => v / Math.min(spans[i], saddle[i])));
  const args = { params, sign: -1, span_x: spans[0], span_y: Infinity, rest: 1e-300 };
  const top = 4 * window.y[1];
  const over = [
    (p, s) => p > window.x[1] && (s <= parabola_s(p, params) || (p > fixed.p[2] && s > top)),
    (p, s) => p < 0 && (p < window.x[0] || s > top),
  ];
  return [1, -1].map((side, i) => {
    const [p, s] = saddle.map((at, j) => at + (side * 1e-4 * stable[j]) / size);
    const arm = integrate((y) => along(y, args), { p, s: Math.log(s) }, REACH, {
      rtol: 1e-7,
      atol: 1e-13,
      longest: SPACING,
      most: 5000,
      pieces: () => 3,
      until: (y) => over[i](y.p, Math.exp(y.s)),
    });
    return arm.y.map((y) => [y.p, Math.exp(y.s)]).filter((at) => at.every(Number.isFinite));
  });
}

// Both arms and the saddle as one curve, sorted by p.
function separatrix(fixed, arms) {
  const [right, left] = arms;
  const curve = [...left.slice().reverse(), [fixed.p[1], fixed.s[1]], ...right];
  return curve.sort((a, b) => a[0] - b[0]);
}

// For each p in xs, the s below which a mode collapses: 0 if no mode collapses at this p,
// Infinity if every mode does.
function basin(params, window, fixed, arms, xs) {
  if (params.eta_s === 0 && params.eta_p === 0) {
    return xs.map((p) => basin_edge_without_decay(p, params));
  }
  if (params.eta_s === 0) return xs.map(() => 0);
  if (!arms.length) return xs.map(() => Infinity);
  const curve = separatrix(fixed, arms);
  return xs.map((p) => heightAt(curve, p));
}

function heightAt(curve, x) {
  let low = 0;
  let high = curve.length - 1;
  if (!(x >= curve[low][0] && x <= curve[high][0])) return Infinity;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (curve[middle][0] <= x) low = middle;
    else high = middle;
  }
  const [[x0, y0], [x1, y1]] = [curve[low], curve[high]];
  return x1 > x0 ? y0 + ((y1 - y0) * (x - x0)) / (x1 - x0) : y0;
}

// The fraction of the window that lies below the edge. The edge has equally spaced points.
function share(edge, window) {
  const [low, high] = window.y;
  const below = edge.map((s) => (Math.min(Math.max(s, low), high) - low) / (high - low));
  const ends = (below[0] + below[below.length - 1]) / 2;
  return (below.reduce((sum, part) => sum + part, 0) - ends) / (below.length - 1);
}

// The largest p on the parabola that still collapses: p-*, except with two different decays.
function edge(params, fixed, arms) {
  if (params.eta_p === params.eta_s || !arms.length) {
    const low = decay_roots(params)[0];
    const doomed = Number.isNaN(low) || (params.eta_p === 0 && params.eta_s > 0);
    return doomed ? Infinity : low;
  }
  const curve = separatrix(fixed, arms);
  const above = curve.map(([p, s]) => s - parabola_s(p, params));
  const i = curve.findIndex(([p], i) => p > 0 && above[i] <= 0);
  if (i < 1) return Infinity;
  const part = above[i - 1] / (above[i - 1] - above[i]);
  return curve[i - 1][0] + part * (curve[i][0] - curve[i - 1][0]);
}

// A grid of count x count arrows as segments, centred on the nodes, all of the same length on
// the screen.
function arrows(params, window, count) {
  const spans = [window.x[1] - window.x[0], window.y[1] - window.y[0]];
  const half = 0.35 / count;
  const found = { x0: [], y0: [], x1: [], y1: [] };
  for (let i = 0; i < count; i++) {
    for (let j = 0; j < count; j++) {
      const p = window.x[0] + ((i + 0.5) / count) * spans[0];
      const s = window.y[0] + ((j + 0.5) / count) * spans[1];
      const rate = modes_fixed_tau({ p, s }, params);
      const [dx, dy] = [rate.p / spans[0], rate.s / spans[1]];
      const scale = half / (Math.hypot(dx, dy) || 1);
      found.x0.push(p - scale * dx * spans[0]);
      found.y0.push(s - scale * dy * spans[1]);
      found.x1.push(p + scale * dx * spans[0]);
      found.y1.push(s + scale * dy * spans[1]);
    }
  }
  return found;
}

// The nullclines dp/dt = 0 and ds/dt = 0, as lists of pieces [xs, ys].
function nullclines(params, window, xs) {
  const vertical = (p) => [[p, p], [...window.y]];
  const bottom = [[...window.x], [0, 0]];
  const roots = [...new Set(decay_roots(params))].filter(Number.isFinite);
  const first =
    params.eta_p === 0
      ? [bottom, vertical(goalWithoutDecay(params))]
      : inside((p) => predictor_nullcline(p, params), xs, window);
  return { p: first, s: [bottom, ...roots.map(vertical)] };
}

const goalWithoutDecay = (params) => decay_roots({ ...params, eta_s: 0 })[1];

// Lines of fixed points, {line: [xs, ys], attracts}. They exist only if the predictor has no
// weight decay.
function resting(params, window, xs) {
  const found = [];
  if (params.eta_p > 0) return found;
  if (window.y[0] === 0) {
    const attracts = xs.map((p) => growth(p, params) <= 0);
    let first = 0;
    for (let i = 1; i < xs.length; i++) {
      if (attracts[i] === attracts[first] && i < xs.length - 1) continue;
      found.push({
        line: [
          [xs[first], xs[i]],
          [0, 0],
        ],
        attracts: attracts[first],
      });
      first = i;
    }
  }
  const goal = goalWithoutDecay(params);
  if (params.eta_s === 0 && window.x[0] <= goal && goal <= window.x[1]) {
    found.push({ line: [[goal, goal], [...window.y]], attracts: true });
  }
  return found;
}

// The trajectory of one mode, forward over the horizon and backward from its initial condition.
// `known`, {fixed, arms}, passes results that are already computed.
function launch(regime, params, rule, start, horizon, window, known = {}) {
  const flow = FLOWS[regime](params, rule, start);
  const distance = distanceFrom(window);
  const cuts = cutsIn(window);
  const how = { ...flow.how, pieces: (y, next) => cuts(flow.see(y), flow.see(next)) };
  const ahead = integrate(flow.field, flow.y0, horizon, { ...how, longest: horizon / 150 });
  const forward = { t: ahead.t, p: [], s: [], tau: [], margin: [] };
  for (const { p, s, tau } of ahead.y.map(flow.see)) {
    forward.p.push(p);
    forward.s.push(s);
    forward.tau.push(tau);
    forward.margin.push(alignment_margin(p, s, { ...params, tau }));
  }
  // An EMA target starts to move at t = 0, so that regime has no backward trajectory.
  const until = (y) => distance(flow.see(y)) > BOUND;
  const back = regime === "ema" ? 0 : -horizon;
  const past = integrate(flow.field, flow.y0, back, { ...how, until, most: 2000 }).y.map(
    flow.see,
  );
  const behind = past.filter(({ p, s }) => Number.isFinite(p) && Number.isFinite(s));
  return {
    forward,
    backward: { p: behind.map(({ p }) => p), s: behind.map(({ s }) => s) },
    collapses: collapses(regime, params, rule, start, window, known),
  };
}

// Distance of a point from the window, in window widths.
function distanceFrom({ x, y }) {
  const beyond = (value, [low, high]) => Math.max(low - value, value - high) / (high - low);
  return ({ p, s }) => Math.max(beyond(p, x), beyond(s, y));
}

// The number of pieces into which the segment from one point to the next is cut for drawing.
function cutsIn(window) {
  const distance = distanceFrom(window);
  return (a, b) => {
    if (distance(a) > BOUND && distance(b) > BOUND) return 1;
    const x = (b.p - a.p) / (window.x[1] - window.x[0]);
    return Math.ceil(Math.hypot(x, (b.s - a.s) / (window.y[1] - window.y[0])) / STRETCH) || 1;
  };
}

// For each regime with independent modes: the vector field `field`, the initial state `y0`, the
// map `see` from a state to {p, s, tau}, and `how`, the options of integrate.
const FLOWS = {
  fixed(params, rule, [p, s]) {
    const see = (y) => ({ p: y.p, s: Math.exp(y.log_s), tau: params.tau });
    return {
      y0: { p, log_s: Math.log(Math.max(s, 1e-300)) },
      field: (y) => ({
        p: modes_fixed_tau({ p: y.p, s: Math.exp(y.log_s) }, params).p,
        log_s: 2 * growth(y.p, params),
      }),
      see: s > 0 ? see : (y) => ({ ...see(y), s: 0 }),
      how: { atol: { p: 1e-14, log_s: 1e-8 } },
    };
  },
  // (w, wa) in polar coordinates, since w may pass through zero, and may shrink to e^(-1/eta)
  // before it grows.
  ema(params, rule, [p, s]) {
    const { w, wa } = modes_of(p, Math.max(s, 1e-300), params.tau);
    const place = (y, r) => ({ p: y.p, w: r * Math.cos(y.angle), wa: r * Math.sin(y.angle) });
    return {
      y0: { p, log_r: Math.log(Math.hypot(w, wa)), angle: Math.atan2(wa, w) },
      field: (y) => {
        const unit = place(y, 1);
        const turn = modes(unit, params); // the field is linear in (w, wa)
        return {
          p: modes(place(y, Math.exp(y.log_r)), params).p,
          log_r: unit.w * turn.w + unit.wa * turn.wa,
          angle: unit.w * turn.wa - unit.wa * turn.w,
        };
      },
      see: (y) => ({
        p: y.p,
        s: s > 0 ? modes_s(place(y, Math.exp(y.log_r))) : 0,
        tau: modes_tau(place(y, 1)),
      }),
      how: { atol: { p: 1e-14, log_r: 1e-8, angle: 1e-9 } },
    };
  },
  directpred(params, rule, [, s]) {
    const see = (s) => ({ p: predictor(s, rule), s, tau: params.tau });
    return {
      y0: { log_s: Math.log(Math.max(s, 1e-300)) },
      field: (y) => ({ log_s: 2 * growth(predictor(Math.exp(y.log_s), rule), params) }),
      see: s > 0 ? (y) => see(Math.exp(y.log_s)) : () => see(0),
      how: { atol: 1e-8 },
    };
  },
};

// Whether the mode collapses, that is, whether its s tends to zero.
function collapses(regime, params, rule, start, window, known = {}) {
  const [p, s] = start;
  if (!(s > 0)) return true;
  if (regime === "directpred") return s < directset_edge(params, rule);
  if (params.eta_s === 0 && params.eta_p > 0) return false;
  if (params.eta_p === 0 && params.eta_s > 0) return true;
  if (regime === "ema") return dies(start, params);
  if (params.eta_s === 0) return s <= basin_edge_without_decay(p, params);
  const fixed = known.fixed ?? fixed_points(params);
  if (!hasSaddle(params, fixed)) return true;
  const shown = p >= window.x[0] && p <= window.x[1] && s <= window.y[1];
  const wide = {
    x: [Math.min(window.x[0], p), Math.max(window.x[1], p)],
    y: [window.y[0], Math.max(window.y[1], s)],
  };
  const curve = shown && known.arms ? known.arms : arms(params, wide, fixed);
  return s < heightAt(separatrix(fixed, curve), p);
}

// Whether a mode with an EMA target collapses. The solve stops when the fate is certain. The
// mode collapses if |p| < eta_s and the weights are too small to raise p, or if p < 0 and the
// weights shrink long before p returns to 0 (beta w^2 - p wa^2 shrinks). It survives if it is
// close to the goal. Without decay, the invariant gives s at the goal; if it is not
// positive, there is no goal.
function dies(start, params) {
  const { eta_p, eta_s, alpha_p, beta } = params;
  const last = fixed_points({ ...params, tau: 1 });
  const [, low, high] = last.p;
  const decays = eta_s > 0;
  const goal = decays ? last.s[2] : invariant(...start, params) + parabola_s(high, params);
  if (!(goal > 0)) return true;
  const { field, y0, see, how } = FLOWS.ema(params, null, start);
  const fallen = (y) => {
    const size = Math.log(alpha_p) + 2 * y.log_r;
    if (!decays) return y.p < 0 && size < Math.log(1e-9 * y.p * y.p);
    if (Math.abs(y.p) < eta_s && size < Math.log(eta_s * eta_p)) return true;
    const room = Math.min(eta_s, beta) * Math.min((-y.p) ** 1.5 * beta ** 0.5, beta * high);
    return y.p < 0 && size + Math.log(Math.max(beta, -y.p)) < Math.log(1e-3 * room);
  };
  const close = 0.02 * (1 - low / high);
  const near = (a, b) => Math.abs(a - b) <= close * Math.abs(b);
  const arrived = (y) => {
    const { p, s, tau } = see(y);
    return near(p, high) && near(tau, 1) && near(s, goal);
  };
  const until = (y) => fallen(y) || arrived(y);
  const long = 1e3 / Math.min(1, beta, eta_p || 1, eta_s || 1);
  const ahead = integrate(field, y0, long, { ...how, rtol: 1e-6, most: 5000, until });
  const end = ahead.y[ahead.y.length - 1];
  return !arrived(end) && (fallen(end) || end.p < low);
}
