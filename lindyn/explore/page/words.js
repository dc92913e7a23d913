// The text beside the plots: verdict, reasons, pointer, command line. One file, so that the
// wording of all regimes can be read together.

const digits = (x, count) => {
  if (!Number.isFinite(x)) return x > 0 ? "∞" : x < 0 ? "−∞" : "unknown";
  return String(Number(x.toPrecision(count))).replaceAll("-", "−");
};
const three = (x) => digits(x, 3);
const percent = (part) => `${three(100 * part)} %`;

// Formats two numbers with enough digits, at least three, to tell them apart.
function apart(x, y) {
  let count = 3;
  while (x !== y && digits(x, count) === digits(y, count) && count < 17) count++;
  return [digits(x, count), digits(y, count)];
}

function words(state, found) {
  const facts = factsOf(state, found);
  return { ...VERDICTS[state.regime](facts), observations: observations(facts) };
}

// The numbers that the text needs. With an EMA target, `params` has the final tau = 1 and
// `start` the initial tau.
function factsOf(state, found = {}) {
  const start = state.params;
  const params = state.regime === "ema" ? { ...start, tau: 1 } : start;
  const [low, high] = decay_roots(params);
  const closed = state.regime === "directpred"; // weight decay then acts on the encoder only
  const split = params.eta_p !== params.eta_s;
  return {
    state,
    start,
    params,
    low,
    high,
    split: split && !closed,
    name: split ? "η_s" : "η",
    decay: params.eta_s,
    critical: critical_decay(params),
    aligned: aligned_window(params),
    goal: goalWithoutDecay(params),
    fixed: fixed_points(params),
    share: state.regime === "fixed" ? found.share : undefined,
    runs: found.runs ?? [],
    fate: found.fate,
  };
}

const VERDICTS = {
  fixed: ofFixedTarget,
  ema: ofMovingTarget,
  directpred: ofClosedForm,
  cosine: ofNetwork,
};

function ofFixedTarget(facts) {
  const { params, fixed, high, low, critical, decay, name } = facts;
  const special = oneSided(facts) ?? doomed(facts);
  if (special) return special;
  const collapse =
    facts.share === undefined ? "" : `; ${percent(facts.share)} of the plane collapses`;
  const simsiam =
    params.tau === 1 ? " With τ = 1 the target is the encoder itself, as in SimSiam." : "";
  if (low === high) {
    return {
      verdict:
        `${name} = ${three(decay)} is the critical decay: the edge and the goal meet at ` +
        `p = ${three(low)}${collapse}.`,
      why: `With the least bit more of decay every mode collapses.${simsiam}`,
    };
  }
  const at = (i) => `p = ${three(fixed.p[i])}, s = ${three(fixed.s[i])}`;
  const values = fixed.real[2].map((x, j) => complex(x, fixed.imag[2][j])).join(", ");
  const why =
    `The edge is what flows into the ${KINDS[fixed.kind[1]]} at ${at(1)}; the goal, at ` +
    `${at(2)}, is a ${KINDS[fixed.kind[2]]} (eigenvalues ${values}).${simsiam}`;
  const ends = `p ends at ${three(high)}`;
  const [told, bound] = apart(decay, critical);
  if (facts.split) {
    const than = params.eta_p > params.eta_s ? "more" : "less";
    return {
      verdict:
        `η_s = ${told} is below the critical decay ${bound}: modes that start above the edge ` +
        `survive, ${ends} and s at ${three(fixed.s[2])}, ${than} than on the parabola${collapse}.`,
      why,
    };
  }
  if (decay >= facts.aligned[0]) {
    const [least, most] = facts.aligned.map(three);
    return {
      verdict:
        `η = ${told} lies in the window from ${least} to ${most} (Observation 7): all along ` +
        `the parabola modes align, and those that start above the edge survive, ` +
        `${ends}${collapse}.`,
      why,
    };
  }
  return {
    verdict:
      `Weak decay, η = ${told} below the critical ${bound}: modes that start above the edge ` +
      `survive, ${ends}${collapse}.`,
    why,
  };
}

// The verdict if the predictor, the encoder or both have no weight decay; else null.
function oneSided({ params, goal, share }) {
  const { eta_p, eta_s } = params;
  if (eta_p > 0 && eta_s > 0) return null;
  if (eta_p > 0) {
    return {
      verdict:
        `Decay on the predictor alone: no mode with s above 0 collapses; p comes to ` +
        `${three(goal)}, and s grows without end by ${three(runaway_rate(params))} per unit of time.`,
      why: "Decay keeps p below its goal, so the encoder, which nothing holds, is pushed on and on.",
    };
  }
  if (eta_s > 0) {
    return {
      verdict:
        "Decay on the encoder alone: every mode collapses, s falls to 0 and p stays where it then is.",
      why: "As p comes to its goal the gain that feeds s vanishes, and the decay of s does not.",
    };
  }
  const part = share === undefined ? "" : `, ${percent(share)} of the plane`;
  return {
    verdict:
      `No weight decay: p ends at ${three(goal)} for every mode but those below the edge, ` +
      `which collapse${part}.`,
    why:
      `Each mode keeps its c = s − p²/α_p for ever, so where it stops on the line of fixed ` +
      `points p = ${three(goal)} depends on where it started.`,
  };
}

function doomed({ high, decay, critical, name, fixed }) {
  if (!Number.isNaN(high)) return null;
  const [told, bound] = apart(decay, critical);
  return {
    verdict:
      `${name} = ${told} is above the critical decay ${bound}: every mode collapses ` +
      `(Observation 5).`,
    why: `Only the collapsed point p = s = 0 is left, a ${KINDS[fixed.kind[0]]}.`,
  };
}

function ofMovingTarget(facts) {
  const { start, high, low, runs, critical, decay, name } = facts;
  const lost = runs.filter((run) => run.collapses).length;
  const counted = runs.length
    ? ` Of the starts shown, ${lost} of ${runs.length} collapse.`
    : "";
  const why =
    `(13) pulls τ = wa/w towards 1 at the rate β = ${three(start.beta)}, and lowers it ` +
    `while w grows.`;
  const special = oneSided({ ...facts, share: undefined }) ?? doomed(facts);
  if (special) return { verdict: special.verdict + counted, why };
  const first = decay_roots(start)[1];
  const ends = `${three(high)}${low === high ? ", which is the edge too at the critical decay" : ""}`;
  const [mine, bound] = apart(decay, critical);
  const below = low === high ? "" : ` ${name} = ${mine} is below the critical decay ${bound}.`;
  let verdict = `A curriculum: τ starts at ${three(start.tau)} and follows to 1, `;
  if (start.tau === 1)
    verdict = `The target starts as the encoder and trails it: p ends at ${ends}`;
  else if (first > 0) verdict += `and the goal for p moves from ${three(first)} to ${ends}`;
  else verdict += `at first without a goal for p, and p ends at ${ends}`;
  return { verdict: `${verdict} (Observation 8).${counted}`, why: why + below };
}

function ofClosedForm(facts) {
  const { params, low, high, state } = facts;
  const { rule } = state;
  const special = doomed(facts);
  if (special) {
    return { ...special, why: "At no p = √s + ε does the gain outweigh the decay of s." };
  }
  const why = "The predictor is p = √s + ε in place of (11), so p and s move along one curve.";
  const limit = directset_edge(params, rule);
  const last = directset_fixed_points(params, rule).s[2];
  const ends = Number.isNaN(last) ? "" : `, s ends at ${three(last)}`;
  const [above, over] = apart(rule.eps, high);
  const [below, least] = apart(rule.eps, low);
  if (limit === Infinity) {
    return {
      verdict:
        `ε = ${above} is not below p₊* = ${over}: so large a predictor makes every ` +
        `mode collapse.`,
      why,
    };
  }
  if (limit > 0) {
    return {
      verdict:
        `ε = ${below} does not exceed p₋* = ${least}: modes that start below ` +
        `s = ${three(limit)} collapse, the others survive${ends}.`,
      why,
    };
  }
  if (!(rule.eps > low)) {
    return { verdict: `No weight decay: no mode with s above 0 collapses${ends}.`, why };
  }
  const eps = above.length > below.length ? above : below;
  return {
    verdict:
      `ε = ${eps} lies between p₋* = ${least} and p₊* = ${over}: every mode escapes ` +
      `collapse${ends}.`,
    why,
  };
}

function ofNetwork({ state, params, fate = fates(state.starts, params) }) {
  const { starts } = state;
  const { lives, m, rests, opposed } = fate;
  const living = lives.filter(Boolean).length;
  const blind =
    "A cosine does not see how long prediction and target are: τ has no part, one weight decay " +
    "of both networks shrinks all modes alike and changes no fate, and σ² only slows time.";
  const always = { verdict: "A cosine loss: the modes of one network compete.", why: blind };
  if (!starts.length) {
    return { ...always, why: `Click in the plane: all modes there are of one network. ${blind}` };
  }
  if (!living || m === 0) {
    const what = living ? "p is 0 in every mode" : "No mode has s above 0";
    return { ...always, verdict: `${what}: the prediction is zero, and has no cosine.` };
  }
  const end = `p = m = ${three(m)}`;
  const worst = m < 0 ? " There the loss is at its largest." : "";
  if (rests) {
    const verdict =
      living > 1
        ? `All modes have one p, so that nothing moves: ${end}.`
        : `One mode alone does not move: ${end}.`;
    const more = living > 1 ? "" : "A second one would compete with it. ";
    return { verdict: verdict + worst, why: more + blind };
  }
  const sums = [starts.map(([p]) => p * p), starts.map(([, s]) => s)].map((each) =>
    three(each.reduce((sum, x) => sum + x, 0)),
  );
  const kept =
    `P = Σp² = ${sums[0]} and S = Σs = ${sums[1]} do not change, and each mode keeps its ` +
    `c = s − p²/α_p.`;
  if (opposed) {
    return {
      verdict: `No mode comes to p > 0: one takes all of S, and ends at ${end}.${worst}`,
      why: `All modes that move have p < 0 and s < p²/α_p. ${kept} ${blind}`,
    };
  }
  const dead = starts.length - living;
  const all = living === 2 ? "Both" : `All ${living}`;
  const which = dead ? `${living} of ${starts.length}` : all;
  const live = living > 1 ? "live and end" : "lives and ends";
  const rest = dead > 1 ? "; the others die" : dead ? "; the other dies" : "";
  return {
    verdict: `${which} modes ${live} at ${end}${rest}.`,
    why:
      `${kept} While m > 0, a mode gains of S if 0 < p < m, and loses if p > m; one with ` +
      `p < 0 and s < p²/α_p dies. ${blind}`,
  };
}

function complex(real, imag) {
  if (imag === 0) return three(real);
  return `${three(real)} ${imag < 0 ? "−" : "+"} ${three(Math.abs(imag))}i`;
}

// The text for a point of the plane. `found`, if given, avoids solving for the edge again.
function pointer(state, p, s, found = {}) {
  if (!(s >= 0)) return "F has no negative eigenvalues: s is at least 0.";
  const { regime, params, rule, window } = state;
  if (regime === "cosine") return pointerOfNetwork(p, s, params);
  const closed = regime === "directpred";
  const at = closed ? predictor(s, rule) : p;
  const rates = modes_fixed_tau({ p: at, s }, params);
  const margin = alignment_margin(at, s, params);
  const moves = closed ? [] : [`dp/dt = ${three(rates.p)}`];
  moves.push(`ds/dt = ${three(rates.s)}`);
  const target = regime === "ema" ? ` with τ = ${three(params.tau)}` : "";
  const dead = collapses(regime, params, rule, [at, s], window, found);
  return [
    `p = ${three(at)}${closed ? " = √s + ε" : ""}, s = ${three(s)}${target}: ${moves.join(", ")}`,
    `the eigenvalue of K (17) is ${three(margin)}: the mode ` +
      (margin > 0 ? "aligns" : "does not align"),
    `a start here ${dead ? "collapses" : "survives"}.`,
  ].join("; ");
}

// The same for an additional mode of a network, so weak that it does not change m, which is
// `params.tau`.
function pointerOfNetwork(p, s, params) {
  const { tau: m } = params;
  const here = `p = ${three(p)}, s = ${three(s)}`;
  if (!(m > 0)) return `${here}: no mode ends at p > 0, so that none here has a goal.`;
  const gains = p > 0 && p < m ? "gains" : p === 0 || p === m ? "keeps" : "loses";
  const dies = s <= basin_edge_without_decay(p, params);
  return (
    `${here}: while many others keep m = ${three(m)}, a mode here ${gains} s, and ` +
    `${dies ? "dies" : "survives"} in the end. A start here moves m too.`
  );
}

// The command that draws the same picture. With an EMA target it is the picture at `tau`; for a
// network, that of one mode among the same number of equal modes.
function command(state, tau = state.params.tau) {
  const { regime, params, window, starts } = state;
  if (regime === "directpred" || (regime === "cosine" && starts.length < 2)) return "";
  const words = ["python", "-m", "lindyn.phase"];
  if (regime === "cosine") {
    const rate = params.alpha_p === 1 ? [] : ["--alpha-p", plain(params.alpha_p)];
    return [...words, ...rate, "--plane", "cosine", "--modes", starts.length].join(" ");
  }
  const flag = (name, value, usual) => {
    if (value !== usual) words.push(`--${name}`, plain(value));
  };
  if (params.eta_p === params.eta_s) {
    flag("wd", params.eta_s, 0.01);
  } else {
    flag("wd-p", params.eta_p);
    flag("wd-s", params.eta_s);
  }
  flag("alpha-p", params.alpha_p, 1);
  flag("beta", params.beta, 0.4);
  flag("sigma2", params.sigma2, 0);
  flag("tau", Math.min(Math.max(tau, 1e-3), 1), 1);
  if (regime === "ema") words.push("--plane", "p-s");
  words.push("--p-range", ...window.x.map(rounded(window.x)));
  words.push("--s-range", ...window.y.map(rounded(window.y)));
  return words.join(" ");
}

// Rounds to 1e-5 of the range, which is finer than a pixel.
function rounded([low, high]) {
  const places = Math.min(Math.max(Math.ceil(5 - Math.log10(high - low)), 0), 20);
  return (x) => plain(Number(x.toFixed(places)));
}

// Writes a negative number without an exponent: the command would read "-1e-7" as a flag.
function plain(x) {
  const text = x === 0 ? "0" : String(x);
  return x < 0 && text.includes("e") ? x.toFixed(20).replace(/\.?0+$/, "") : text;
}
