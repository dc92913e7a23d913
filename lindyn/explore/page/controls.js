// The controls around the plots (sliders, choices, buttons), the text and the legend.

const byId = (id) => document.getElementById(id);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Splits "α_p" into text and a subscript element for the index.
function indexed(text) {
  return text.split(/_([ps])\b/).map((part, i) => (i % 2 ? element("sub", {}, part) : part));
}

// Replaces the content only if the text is new, since each change makes the browser lay out the
// page again.
function write(id, text, nodes = indexed) {
  const place = byId(id);
  if (place.dataset.text === text) return;
  place.dataset.text = text;
  place.replaceChildren(...nodes(text));
}

function buildControls(act) {
  for (const [flag, control] of Object.entries(CONTROLS)) {
    byId("sliders").append(slider(flag, control, act));
  }
  const split = element("input", { type: "checkbox", id: "split" });
  split.addEventListener("change", () => act.set(splitting(split.checked)));
  const label = element("label", { class: "check" }, split, "predictor and encoder apart");
  byId("sliders").insertBefore(label, byId("row-alpha-p"));
  for (const [regime, name] of Object.entries(REGIMES)) {
    const radio = element("input", { type: "radio", name: "regime", value: regime });
    radio.addEventListener("change", () => act.set({ regime, fitted: true }));
    byId("regime").append(element("label", {}, radio, name));
  }
  const choice = byId("preset");
  choice.append(element("option", { value: "" }, "choose …"));
  for (const group of new Set(Object.values(given.presets).map((preset) => preset.group))) {
    const named = Object.entries(given.presets).filter(([, preset]) => preset.group === group);
    const options = named.map(([name, { label }]) => element("option", { value: name }, label));
    choice.append(element("optgroup", { label: group }, ...options));
  }
  choice.addEventListener("change", () => {
    const preset = choice.value;
    if (preset) act.replace({ ...given.presets[preset].state, preset });
  });
}

function slider(flag, control, act) {
  const { low, high, log } = control;
  const ends = log ? [Math.log10(low), Math.log10(high)] : [low, high];
  const step = log ? 0.01 : (high - low) / 500;
  const range = element("input", { type: "range", id: flag, min: ends[0], max: ends[1], step });
  const number = element("input", {
    type: "text",
    inputmode: "decimal",
    id: `${flag}-number`,
    autocomplete: "off",
    "aria-label": `${control.symbol}, ${control.meaning}`,
  });
  range.addEventListener("input", () => {
    const value = Number(range.value);
    act.set(change(flag, log ? Number((10 ** value).toPrecision(3)) : value));
  });
  number.addEventListener("input", () => {
    const value = number.value.trim() === "" ? NaN : Number(number.value);
    const fine = valid(flag, value, act.state.regime);
    number.setAttribute("aria-invalid", !fine);
    if (fine) act.set(change(flag, value));
  });
  number.addEventListener("change", () => showValue(flag, act.state));
  const letter = element("i", { class: "symbol" }, ...indexed(control.symbol));
  const meaning = element("span", { id: `${flag}-meaning` }, control.meaning);
  const name = element("label", { for: flag }, letter, " ", meaning);
  return element("div", { class: "slider", id: `row-${flag}` }, name, number, range);
}

const splitting = (split) => (state) =>
  split ? { split } : { split, params: { eta_p: state.params.eta_s } };

function showControls(state) {
  const moving = state.regime === "ema";
  const free = state.regime === "cosine"; // weight decay and tau are not used there
  byId("tau").min = moving ? 0 : CONTROLS.tau.low;
  write("tau-meaning", moving ? "target at the start" : CONTROLS.tau.meaning);
  for (const flag of Object.keys(CONTROLS)) showValue(flag, state);
  const shown = {
    wd: !state.split && !free,
    "wd-p": state.split && !free,
    "wd-s": state.split && !free,
    "alpha-p": state.regime !== "directpred",
    tau: !free,
    beta: moving,
    eps: state.regime === "directpred",
  };
  for (const [flag, on] of Object.entries(shown)) byId(`row-${flag}`).hidden = !on;
  byId("split").checked = state.split;
  byId("split").parentElement.hidden = free;
  byId("preset").value = state.preset;
  for (const radio of document.getElementsByName("regime")) {
    radio.checked = radio.value === state.regime;
  }
  byId("undo").disabled = byId("clear").disabled = !state.starts.length;
}

function showValue(flag, state) {
  const value = read(state, flag);
  const [range, number] = [byId(flag), byId(`${flag}-number`)];
  range.value = CONTROLS[flag].log ? Math.log10(value) : value; // the browser clips it
  range.setAttribute("aria-valuetext", short(value));
  const typing = document.activeElement === number;
  if (typing && valid(flag, Number(number.value), state.regime)) return;
  number.value = short(value);
  number.setAttribute("aria-invalid", false);
}

function showWords(state, found) {
  const { verdict, why, observations } = words(state, found);
  write("verdict", verdict);
  write("why", why);
  const said = observations.map(({ text }) => text).join();
  write("observations", said, () =>
    observations.flatMap(({ number, text }) => [
      element("dt", {}, `Observation ${number}`),
      element("dd", {}, ...indexed(text)),
    ]),
  );
  const line = command(state);
  write("command", line, (text) =>
    text.split(/ (?=--)/).flatMap((part) => [element("span", {}, part), " "]),
  );
  // A run with a cosine loss may have sigma2 < 0, which the command does not accept.
  byId("command-row").hidden = !line || state.params.sigma2 < 0;
  const network = state.regime === "cosine";
  const equal = "One mode among equal ones, from the command line:";
  write("command-title", network ? equal : "This picture, from the command line:");
  write("line-title", lineTitle(state));
  write("third", network ? "m" : "τ");
  write("margin-name", network ? "Cosine of prediction and target" : "Eigenvalue of K");
  write("margin-title", network ? "" : ": the mode aligns where it is positive");
}

function lineTitle({ regime, params }) {
  if (regime === "directpred") return "ds/dt over s, where p = √s + ε";
  if (regime === "cosine") return "dp/dt on the parabola s = p²/α_p, where m is kept";
  const invariant = params.eta_p === params.eta_s;
  return `dp/dt on the parabola${invariant ? " s = p²/α_p" : ", not invariant now"}`;
}

// The curves of the legend, which shows only those that the plane contains now.
const CURVES = [
  ["basin"],
  ["p", "dp/dt = 0"],
  ["s", "ds/dt = 0"],
  ["separatrix", "separatrix"],
  ["stable", "resting, stable"],
  ["unstable", "resting, unstable"],
];

const STARTS = [
  [false, SURVIVOR, "survives"],
  [true, DOOMED, "dies"],
];

function showLegend(state, found) {
  const { nullclines, resting, fixed } = found;
  const present = {
    basin: found.edge.some((s) => s > state.window.y[0]),
    p: nullclines.p.length,
    s: nullclines.s.length,
    separatrix: found.arms.length,
    stable: resting.some((line) => line.attracts),
    unstable: resting.some((line) => !line.attracts),
  };
  const network = state.regime === "cosine";
  const { eta_p, eta_s } = state.params;
  const free = network || eta_p === eta_s ? "s = p²/α_p, invariant" : "s = p²/α_p";
  const curve = state.regime === "directpred" ? "p = √s + ε" : free;
  const basins = { ema: "collapses at this τ", cosine: "dies where m is kept" };
  const named = { basin: basins[state.regime] ?? "collapses" };
  const kinds = Object.keys(given.marks).filter((name) =>
    fixed.kind.includes(KINDS.indexOf(name)),
  );
  const entries = [
    ...CURVES.filter(([layer]) => present[layer]).map(([layer, text]) => [
      sample(layer),
      named[layer] ?? text,
    ]),
    [sample("parabola"), curve],
    ...(found.fate?.m ? [[sample("m"), "m at this moment"]] : []),
    ...kinds.map((kind) => [shape(given.marks[kind]), kind]),
    ...STARTS.filter(([dies]) => found.runs.some((run) => run.collapses === dies)).map(
      ([, look, text]) => [shape(look), text],
    ),
    ...(given.run ? [[shape(MODE), "mode of the run"]] : []),
  ];
  const items = () =>
    entries.map(([picture, text]) => {
      const item = element("li", {}, element("span", {}, ...indexed(text)));
      item.insertAdjacentHTML("afterbegin", picture);
      return item;
    });
  write("legend", entries.map(([, text]) => text).join(), items);
}

const sample = (layer) =>
  layer === "basin"
    ? `<svg viewBox="0 0 26 12" class="basin"><rect width="26" height="12"/></svg>`
    : `<svg viewBox="0 0 26 12" class="curve ${layer}"><path d="M0 6H26"/></svg>`;

const SHAPES = {
  triangle: `<path d="M0 -5.5L5.5 4.5H-5.5Z"/>`,
  circle: `<circle r="4.5"/>`,
  hex: `<path d="M0 -5L4.3 -2.5V2.5L0 5L-4.3 2.5V-2.5Z"/>`,
  plus: `<path d="M-2 -5.5H2V-2H5.5V2H2V5.5H-2V2H-5.5V-2H-2Z"/>`,
  square: `<rect x="-4" y="-4" width="8" height="8"/>`,
  diamond: `<path d="M0 -5.5L4.5 0L0 5.5L-4.5 0Z"/>`,
};

function shape({ marker, angle, color, hollow }) {
  const fill = hollow ? "var(--paper)" : `var(--${color})`;
  const style = `fill:${fill};stroke:var(--${color});transform:rotate(${angle}rad)`;
  return `<svg viewBox="-7 -7 14 14" class="mark"><g style="${style}">${SHAPES[marker]}</g></svg>`;
}

async function copied(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = element("textarea", { readonly: "" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.dataset.label ??= button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = button.dataset.label), 1200);
}
