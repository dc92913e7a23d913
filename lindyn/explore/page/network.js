// The modes of one network with a cosine loss. They are coupled by m, and solved together.

// The generated functions take `WIDTH` modes; a smaller network is padded with zeros.
const padded = (values) => Array.from({ length: WIDTH }, (_, i) => values[i] ?? 0);
const columns = (places) => [padded(places.map(([p]) => p)), padded(places.map(([, s]) => s))];
const weights = (p, w) => ({ p, w, wa: w }); // the cosine ignores the target's length
const moves = ([, s]) => s > 0;

// Parameters for one mode among many others that keep m constant: it then follows the equations
// of the squared loss without decay, and its goal is m.
const keeping = (m, params) => ({ ...params, eta_p: 0, eta_s: 0, sigma2: 0, tau: m });

// Which starts survive, and the value p = m that they reach. `rests`: all modes have the same
// p, so that nothing moves. `opposed`: no mode reaches p > 0; then one mode ends with the whole
// sum of s, at p = m < 0.
function fates(starts, params) {
  const moving = starts.filter(moves);
  if (new Set(moving.map(([p]) => p)).size < 2) {
    return { lives: starts.map(moves), m: moving[0]?.[0] ?? NaN, rests: true };
  }
  const kept = starts.map((start) => (moves(start) ? start : [0, 0]));
  const [lives, m] = survivors(...columns(kept), params.alpha_p);
  if (m > 0) return { lives: lives.slice(0, starts.length), m };
  const { field, y0, see, atol } = networkOf(kept, params);
  const all = kept.reduce((sum, [, s]) => sum + s, 0);
  const until = (y) => see(y).some(([, s]) => s > (1 - 1e-9) * all);
  const solved = integrate(field, y0, 1e6, { atol, rtol: 1e-6, most: 3000, until });
  const end = see(solved.y[solved.y.length - 1]);
  return { lives: end.map(([, s]) => s > all / 2), m: cosine_goal(...columns(end)), opposed: true };
}

// The trajectory of each start, in the format of `launch`. The first one also contains m and
// the cosine over time.
function together(starts, params, horizon, window, fate) {
  const { field, y0, see, atol } = networkOf(starts, params);
  const cuts = cutsIn(window);
  const pieces = (y, next) => {
    const [from, to] = [see(y), see(next)].map((places) => places.map(([p, s]) => ({ p, s })));
    return Math.max(...from.map((place, i) => cuts(place, to[i])));
  };
  const solve = (time, how) => {
    const { t, y } = integrate(field, y0, time, { atol, pieces, ...how });
    return { t, places: y.map(see) };
  };
  const still = { t: [0, horizon], places: [starts, starts] };
  const ahead = fate.rests ? still : solve(horizon, { longest: horizon / 150 });
  const behind = fate.rests ? still : solve(-horizon, { most: 2000 });
  const of = ({ places }, i) => ({
    p: places.map((place) => place[i][0]),
    s: places.map((place) => place[i][1]),
  });
  const runs = starts.map((_, i) => ({
    forward: { t: ahead.t, ...of(ahead, i) },
    backward: of(behind, i),
    collapses: !fate.lives[i],
  }));
  const networks = runs.length ? ahead.places.map(columns) : [];
  const first = {
    m: networks.map(([p, s]) => cosine_goal(p, s)),
    cosine: networks.map(([p, s]) => cosine(weights(p, s.map(Math.sqrt)))),
  };
  if (runs.length) Object.assign(runs[0].forward, first);
  return runs;
}

// The equations of all modes with s > 0, in one list of p and log w. The logarithm is needed
// since a mode may grow again after its w has almost vanished.
function networkOf(starts, params) {
  const free = { ...params, eta_p: 0, eta_s: 0 };
  const moving = starts.filter(moves);
  const n = moving.length;
  const [p, w] = [padded([]), padded([])];
  const field = (y) => {
    for (let i = 0; i < n; i++) {
      p[i] = y[i];
      w[i] = Math.exp(Math.max(y[n + i], -300));
    }
    const rate = cosine_modes(weights(p, w), free);
    const dy = rate.p.slice(0, 2 * n);
    for (let i = 0; i < n; i++) dy[n + i] = rate.w[i] / w[i];
    return dy;
  };
  const place = starts.map((start) => moving.indexOf(start));
  const see = (y) =>
    starts.map((start, i) => {
      const j = place[i];
      return j < 0 ? start : [y[j], Math.exp(2 * y[n + j])];
    });
  const y0 = [...moving.map(([p]) => p), ...moving.map(([, s]) => Math.log(s) / 2)];
  return { y0, field, see, atol: y0.map((_, i) => (i < n ? 1e-14 : 1e-8)) };
}
