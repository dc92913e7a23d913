// Opens the Bokeh figures of plots.py, fills their data sources and repaints them.

const figures = {}; // name -> {view, layers}; layers: name -> renderer

async function openFigures() {
  const roots = given.figures.roots.map((root) => [root.id, root.attributes.name]);
  const items = [
    { docid: "page", roots: Object.fromEntries(roots), root_ids: roots.map(([id]) => id) },
  ];
  const [views] = await Bokeh.embed.embed_items({ page: given.figures }, items);
  for (const [id, name] of roots) {
    const view = views.get_by_id(id);
    const layers = {};
    for (const renderer of view.model.renderers) {
      layers[renderer.name.slice(name.length + 1)] = view.renderer_views.get(renderer);
    }
    figures[name] = { view, layers };
    view.canvas_view.events_el.tabIndex = -1; // the page handles the keyboard itself
    hasten(view);
  }
}

// Switches off work that Bokeh does at each repaint and that this page never needs: reading
// every property of an axis and the size of an em from the style sheet, laying out the figure
// again if an axis needs less room than it has, and updating the selected and muted variants
// of each layer.
function hasten(view) {
  Object.defineProperty(view, "base_font_size", { value: 13 });
  for (const part of [view, ...view.renderer_views.values()]) {
    for (const visual of part.visuals) visual._get_css_value = () => "";
    for (const glyph of SPARE.map((name) => part[name]).filter(Boolean)) {
      for (const step of STEPS) glyph[step] = () => {};
    }
    const { layout } = part;
    if (!layout?.panel) continue;
    const room = () => (layout.panel.is_horizontal ? layout.bbox.height : layout.bbox.width);
    layout.has_size_changed = () => layout.get_size().height > room();
  }
}

const SPARE = ["selection_glyph", "nonselection_glyph", "muted_glyph", "decimated_glyph"];
const STEPS = ["set_data", "set_visuals", "after_visuals", "after_lazy_visuals", "map_data"];

// Applies all changes of a figure in one repaint; Bokeh itself would repaint later, and once
// per change. `changed` is {figure: {layer: columns}}, `ranges` is {figure: {x, y}}.
async function show(changed, ranges = {}) {
  const touched = Object.keys(changed).filter((name) => Object.keys(changed[name]).length);
  const names = new Set([...touched, ...Object.keys(ranges)]);
  const views = [...names].map((name) => figures[name].view);
  views.forEach((view) => view.pause());
  const pending = [];
  for (const [name, layers] of Object.entries(changed)) {
    for (const [layer, data] of Object.entries(layers)) {
      const renderer = figures[name].layers[layer];
      const source = renderer.model.data_source;
      if (!data.x.length && !source.data.x.length) continue;
      source.setv({ data }, { silent: true });
      renderer.cds_view.compute_indices();
      pending.push(renderer.set_data());
      figures[name].view.invalidate_painters(renderer);
    }
  }
  for (const [name, ends] of Object.entries(ranges)) {
    const { view } = figures[name];
    const set = (range, [start, end]) => range.setv({ start, end }, { silent: true });
    if (ends.x) set(view.model.x_range, ends.x);
    if (ends.y) set(view.model.y_range, ends.y);
    view.invalidate_painters();
  }
  await Promise.all(pending);
  for (const view of views) {
    view.unpause(true);
    view.repaint();
  }
}

// role -> colour, read from the style sheet
let colors = {};

function recolor() {
  const style = getComputedStyle(document.documentElement);
  for (const role of given.roles) colors[role] = style.getPropertyValue(`--${role}`).trim();
  for (const { view } of Object.values(figures)) {
    for (const model of view.model.references()) {
      for (const roles of model.tags ?? []) {
        const own = Object.entries(roles).map(([property, role]) => [property, colors[role]]);
        model.setv(Object.fromEntries(own));
      }
    }
  }
}

// Joins several curves into one, separated by NaN.
function joined(curves) {
  const along = (i) => curves.flatMap((curve) => [...curve[i], NaN]);
  return { x: along(0), y: along(1) };
}

// Columns for a Scatter glyph from points {x, y, size, marker, angle, color, hollow}; points
// outside of the window are left out.
function markers(points, window) {
  const shown = points.filter(({ x, y }) => within(x, window.x) && within(y, window.y));
  const column = (of) => shown.map(of);
  return {
    x: column((point) => point.x),
    y: column((point) => point.y),
    size: column((point) => point.size),
    marker: column((point) => point.marker),
    angle: column((point) => point.angle ?? 0),
    line: column((point) => colors[point.hollow ? point.color : "paper"]),
    fill: column((point) => colors[point.hollow ? "paper" : point.color]),
    width: column((point) => (point.hollow ? 2.2 : 1.2)),
  };
}

const rows = (curve) => [curve.map((point) => point[0]), curve.map((point) => point[1])];
const within = (x, [low, high]) => x >= low && x <= high;

function drawPlane(found, window) {
  const [low, high] = [2 * window.y[0] - window.y[1], 2 * window.y[1] - window.y[0]];
  const edge = found.edge.map((s) => Math.min(Math.max(s, low), high));
  const lines = (stable) =>
    joined(found.resting.filter((each) => each.attracts === stable).map((each) => each.line));
  return {
    basin: { x: found.xs, low: found.xs.map(() => low), high: edge },
    arrows: withHeads(found.arrows, window),
    parabola: joined([found.curve]),
    p: joined(found.nullclines.p),
    s: joined(found.nullclines.s),
    separatrix: joined(found.arms.map(rows)),
    stable: lines(true),
    unstable: lines(false),
    fixed: markers(fixedPoints(found.fixed, found.fixed.p, found.fixed.s), window),
  };
}

// Draws the saddle last, on top, since it may lie close to the collapsed point.
function fixedPoints(fixed, xs, ys) {
  return [0, 2, 1]
    .filter((i) => KINDS[fixed.kind[i]] in given.marks)
    .map((i) => ({ x: xs[i], y: ys[i], size: 13, ...given.marks[KINDS[fixed.kind[i]]] }));
}

function withHeads({ x0, y0, x1, y1 }, { x, y }) {
  const { width, height } = figures.plane.view.frame.bbox;
  const [across, up] = [(x[1] - x[0]) / width, (y[1] - y[0]) / height];
  return joined(
    x0.map((_, i) => {
      const way = Math.atan2((y1[i] - y0[i]) / up, (x1[i] - x0[i]) / across);
      const barb = (turn) => [
        x1[i] - 5 * Math.cos(way + turn) * across,
        y1[i] - 5 * Math.sin(way + turn) * up,
      ];
      const [left, right] = [barb(0.45), barb(-0.45)];
      return [
        [x0[i], x1[i], left[0], x1[i], right[0]],
        [y0[i], y1[i], left[1], y1[i], right[1]],
      ];
    }),
  );
}

const SURVIVOR = { marker: "circle", angle: 0, color: "ink", hollow: false, size: 13 };
const DOOMED = { marker: "triangle", angle: Math.PI, color: "ink", hollow: true, size: 13 };
const MODE = { marker: "diamond", angle: 0, color: "orange", hollow: false, size: 9 };

function drawRuns(runs, state) {
  const point = (start, i) => {
    const [x, y] = placed(start, state);
    return { x, y, ...(runs[i].collapses ? DOOMED : SURVIVOR) };
  };
  return {
    forward: joined(runs.map(({ forward }) => [forward.p, forward.s])),
    backward: joined(runs.map(({ backward }) => [backward.p, backward.s])),
    starts: markers(state.starts.map(point), state.window),
  };
}

function drawNow(runs, { now, window }) {
  const dot = ({ forward }) => ({
    x: at(forward, "p", now),
    y: at(forward, "s", now),
    size: 8,
    marker: "circle",
    color: "purple",
  });
  return markers(now > 0 ? runs.map(dot) : [], window);
}

// The vertical line p = m of a network at the current time.
function drawM(runs, { now, window }) {
  const m = runs[0]?.forward.m ? at(runs[0].forward, "m", now) : NaN;
  return within(m, window.x) ? { x: [m, m], y: window.y } : { x: [], y: [] };
}

function drawLine(found, { regime }) {
  const { x, y } = found.line;
  const sizes = y.map(Math.abs).sort((a, b) => a - b);
  const top = 2.5 * sizes[Math.floor(0.7 * sizes.length)] || 1;
  const range = { x: [x[0], x[x.length - 1]], y: [-top, top] };
  const name = regime === "directpred" ? "s" : "p";
  const rate = regime === "cosine" ? "dp/dt · m/κ" : `d${name}/dt`;
  const zero = found.fixed.p.map(() => 0);
  const { below, left } = figures.line.view.model;
  label(below[0], name);
  label(left[0], rate);
  const end = Math.min(Math.max(found.edge_on_parabola, range.x[0]), range.x[1]);
  return {
    range,
    layers: {
      basin: { x: [range.x[0], end], low: [-top, -top], high: [top, top] },
      zero: { x: range.x, y: [0, 0] },
      rate: { x, y },
      fixed: markers(fixedPoints(found.fixed, found.fixed[name], zero), range),
    },
  };
}

// For a network (cosine loss), m replaces tau, and the cosine replaces the eigenvalue of K.
function drawTimes(runs, { regime, time, window }) {
  const network = regime === "cosine";
  const each = (name) =>
    joined(runs.map(({ forward }) => [forward.t, forward[name] ?? forward.t.map(() => NaN)]));
  const [p, s] = ["p", "s"].map(each);
  const [tau, margin] = (network ? ["m", "cosine"] : ["tau", "margin"]).map(each);
  const x = [0, time];
  const shown = network ? [0.1] : [1, ...tau.y]; // m has poles, so the range ignores it
  label(figures.course.view.model.left[0], network ? "p, s, m" : "p, s, τ");
  label(figures.margin.view.model.left[0], network ? "cosine · (1 + σ²)" : "eigenvalue of K");
  return {
    layers: { course: { p, s, tau }, margin: { margin, zero: { x, y: [0, 0] } } },
    ranges: {
      course: { x, y: spread([0, ...shown, ...p.y, ...s.y], 2 * Math.max(1, ...window.y)) },
      margin: { x, y: spread([0, 0.1, ...margin.y]) },
    },
  };
}

function label(axis, text) {
  if (axis.axis_label !== text) axis.axis_label = text;
}

// A range that holds the numbers and zero, with a margin; values beyond `most` are cut off.
function spread(numbers, most = Infinity) {
  let [low, high] = [0, 0];
  for (const y of numbers) {
    if (y < low) low = Math.max(y, -most);
    if (y > high) high = Math.min(y, most);
  }
  const room = 0.06 * (high - low);
  return [low - room, high + room];
}
