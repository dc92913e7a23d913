// The paper's ten observations, filled with the numbers of the current parameters.

const FAST = 2; // alpha_p from this value on counts as large
const SLOW = 0.1; // beta up to this value counts as small
const SHOWN = {
  fixed: [1, 2, 3, 4, 5, 6, 7, 10],
  ema: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10],
  directpred: [4, 5, 10],
  cosine: [],
};

// The observations that apply to the current parameters, with their numbers in the paper.
function observations(facts) {
  return SHOWN[facts.state.regime]
    .map((number) => ({ number, text: OBSERVATIONS[number](facts) }))
    .filter(({ text }) => text);
}

const survive = ({ params, high }) => high > 0 && !(params.eta_p === 0 && params.eta_s > 0);
const fast = ({ params }) => params.alpha_p >= FAST;
// A number for the current parameters, and the same for a predictor at the encoder's rate.
const beside = (params, of) =>
  [params, { ...params, alpha_p: 1 }].map((each) => three(of(each)));

const OBSERVATIONS = {
  1(facts) {
    const { params, goal, split, decay } = facts;
    if (!fast(facts) || !survive(facts) || (split && decay === 0)) return "";
    const [here, unit] = beside(params, (each) => parabola_s(goal, each));
    return (
      `A fast predictor makes the basin of collapse small: α_p = ${three(params.alpha_p)} ` +
      `flattens the parabola to s = ${here} at p = ${three(goal)}, where α_p = 1 has ${unit}.`
    );
  },
  2(facts) {
    const { params, high, split } = facts;
    if (!fast(facts) || !survive(facts) || split) return "";
    const [here, unit] = beside(params, (each) => parabola_s(high, each));
    return (
      `A fast predictor leaves the encoder little to do: on the parabola s gains ${here} from ` +
      `p = 0 to the goal, where α_p = 1 gives ${unit}.`
    );
  },
  3({ decay, split }) {
    if (split || decay === 0) return "";
    return (
      `Decay makes the flow forget its start: c = s − p²/α_p halves every ` +
      `${three(Math.LN2 / (2 * decay))} units of time, and s comes to follow p.`
    );
  },
  4(facts) {
    const { decay, low, name } = facts;
    const closed = facts.state.regime === "directpred";
    if (decay === 0 || !(closed ? low > 0 : survive(facts))) return "";
    return (
      `Decay widens the basin of collapse: ${name} = ${three(decay)} puts its edge at ` +
      `p₋* = ${three(low)}; it is 0 without decay.`
    );
  },
  5({ decay, high, critical, name }) {
    if (!Number.isNaN(high)) return "";
    const [mine, bound] = apart(decay, critical);
    return `Beyond the critical decay, here ${bound}, every mode collapses: ${name} = ${mine}.`;
  },
  6(facts) {
    const { params, goal, state } = facts;
    if (!fast(facts)) return "";
    const [p, s] = [goal / 2, (state.window.y[0] + state.window.y[1]) / 2];
    const [here, unit] = beside(params, (each) => alignment_margin(p, s, each));
    return (
      `A fast predictor eases condition (17): at p = ${three(p)}, s = ${three(s)} the ` +
      `eigenvalue of K is ${here}, where α_p = 1 has ${unit}.`
    );
  },
  7({ decay, aligned, split, state }) {
    if (split || !(decay >= aligned[0])) return "";
    const end = state.regime === "ema" ? " for τ = 1" : "";
    return (
      `Decay eases condition (17): from η = ${three(aligned[0])} on it holds all along the ` +
      `parabola${end}` +
      (decay <= aligned[1] ? `, and up to ${three(aligned[1])} not every mode collapses.` : ".")
    );
  },
  8({ start, goal }) {
    const early =
      start.tau === 1 ? "τ falls while w grows" : `τ is ${three(start.tau)} at first`;
    const from = start.tau === 1 ? "" : ` from ${three(goalWithoutDecay(start))}`;
    return (
      `A moving target is a curriculum: ${early}, and rises to 1 later, so the p at which the ` +
      `gain ends rises${from} to ${three(goal)}, and (17) is easier to keep on the way.`
    );
  },
  9({ start }) {
    if (start.beta > SLOW) return "";
    return (
      `A slow target makes training slow: with β = ${three(start.beta)} it takes about ` +
      `1/β = ${three(1 / start.beta)} units of time to follow.`
    );
  },
  10({ start, decay, name }) {
    const [low, least] = [start, { ...start, tau: 1 }].map((each) => decay_roots(each)[0]);
    if (!(start.tau < 1) || decay === 0 || Number.isNaN(least)) return "";
    const unit = `p₋* = ${three(least)} at τ = 1`;
    const small = `A small τ traps more modes:`;
    if (low > 0) return `${small} p₋* = ${three(low)} at τ = ${three(start.tau)}, ${unit}.`;
    const [mine, bound] = apart(decay, critical_decay(start));
    return (
      `${small} ${unit}, but at τ = ${three(start.tau)} ${name} = ${mine} is above the ` +
      `critical decay ${bound}.`
    );
  },
};
