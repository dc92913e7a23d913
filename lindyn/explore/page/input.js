// Pointer, wheel and keyboard input on the plane. `act` is the object of page.js.

const NEAR = 18; // pixels; a pointer within this distance of a start drags it
const STEP = 1 / 40; // fraction of the window by which an arrow key moves the cross-hair

function listen(act) {
  const plane = byId("plane");
  let held = null; // index of the start that is being dragged
  let waiting = null; // point of a touch that may still turn into scrolling

  const launchAt = ([p, s]) => {
    if (act.state.starts.length >= MOST_STARTS || !canStart(p, s)) return;
    held = act.state.starts.length;
    act.set({ starts: [...act.state.starts, [p, s]] });
  };
  const moveTo = ([p, s]) => {
    if (!canStart(p, s)) return;
    act.set({ starts: act.state.starts.map((start, i) => (i === held ? [p, s] : start)) });
  };

  plane.addEventListener("pointerdown", (event) => {
    const point = pointOf(event, act.state);
    if (event.button !== 0 || !point) return;
    plane.focus({ preventScroll: true });
    if (act.at()) act.cross(null);
    held = nearest(event, act.state);
    if (held === null && event.pointerType === "touch") waiting = point;
    else plane.setPointerCapture(event.pointerId);
    if (held === null && !waiting) launchAt(point);
  });
  plane.addEventListener("pointermove", (event) => {
    const point = pointOf(event, act.state, held !== null);
    if (waiting && point && distance(event, waiting, act.state) > 6) {
      launchAt(waiting);
      waiting = null;
      plane.setPointerCapture(event.pointerId);
    }
    if (held !== null && point) moveTo(point);
    else if (!waiting) plane.classList.toggle("grab", nearest(event, act.state) !== null);
    act.point(point);
  });
  plane.addEventListener("pointerup", () => {
    if (waiting) launchAt(waiting);
    held = waiting = null;
  });
  plane.addEventListener("pointercancel", () => (held = waiting = null));
  plane.addEventListener("blur", () => act.cross(null));
  plane.addEventListener("pointerleave", () => act.point(null));
  plane.addEventListener(
    "touchstart",
    (event) => nearest(event.touches[0], act.state) !== null && event.preventDefault(),
    { passive: false },
  );
  plane.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && document.activeElement !== plane) return;
      event.preventDefault();
      const point = pointOf(event, act.state, true);
      act.set({ window: zoomed(act.state, 1.0015 ** event.deltaY, point) });
    },
    { passive: false },
  );
  plane.addEventListener("keydown", (event) => {
    const done = keyed(event, act, launchAt);
    if (done) event.preventDefault();
    held = null;
  });
  byId("zoom-in").addEventListener("click", () => act.set({ window: zoomed(act.state, 0.7) }));
  byId("zoom-out").addEventListener("click", () =>
    act.set({ window: zoomed(act.state, 1 / 0.7) }),
  );
  byId("fit").addEventListener("click", () => act.set({ fitted: true }));
  byId("undo").addEventListener("click", () =>
    act.set({ starts: act.state.starts.slice(0, -1) }),
  );
  byId("clear").addEventListener("click", () => act.set({ starts: [] }));
}

const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowDown: [0, -1], ArrowUp: [0, 1] };

function keyed(event, act, launchAt) {
  const { key, shiftKey, ctrlKey, metaKey, altKey } = event;
  if (ctrlKey || metaKey || altKey) return false;
  const { x, y } = act.state.window;
  const cross = act.at() ?? [(x[0] + x[1]) / 2, (y[0] + y[1]) / 2];
  if (key in WAYS) {
    const step = shiftKey ? 4 * STEP : STEP;
    const moved = (at, [low, high], way) =>
      Math.min(Math.max(at + way * step * (high - low), low), high);
    act.cross([moved(cross[0], x, WAYS[key][0]), moved(cross[1], y, WAYS[key][1])]);
  } else if (key === "Enter" || key === " ") {
    act.cross(cross);
    launchAt(cross);
  } else if (key === "Backspace" || key === "Delete") {
    act.set({ starts: act.state.starts.slice(0, -1) });
  } else if (key === "+" || key === "-") {
    act.set({ window: zoomed(act.state, key === "+" ? 0.7 : 1 / 0.7) });
  } else if (key === "0") {
    act.set({ fitted: true });
  } else if (key === "Escape") {
    act.cross(null);
  } else {
    return false;
  }
  return true;
}

// The window scaled about a point, by default the middle of its lower edge. It never extends
// below s = 0.
function zoomed({ window }, factor, point) {
  const [p, s] = point ?? [(window.x[0] + window.x[1]) / 2, window.y[0]];
  const scaled = ([low, high], at) => [at + (low - at) * factor, at + (high - at) * factor];
  const [x, y] = [scaled(window.x, p), scaled(window.y, s)];
  if (y[0] < 0) [y[0], y[1]] = [0, y[1] - y[0]];
  return drawable(x) && drawable(y) ? { x, y } : window;
}

// The position of a pointer as [p, s]. Outside of the axes it is null, or with `held` the
// nearest point on their edge.
function pointOf(event, { window }, held = false) {
  const box = byId("plane").getBoundingClientRect();
  const { left, top, width, height } = figures.plane.view.frame.bbox;
  let x = (event.clientX - box.left - left) / width;
  let y = 1 - (event.clientY - box.top - top) / height;
  if (held) [x, y] = [x, y].map((part) => Math.min(Math.max(part, 0), 1));
  if (!(x >= 0 && x <= 1 && y >= 0 && y <= 1)) return null;
  const digits = ([low, high], part) =>
    toPixel(low + part * (high - low), (high - low) / width);
  return [digits(window.x, x), digits(window.y, y)];
}

// Rounds a value to the resolution of a pixel.
const toPixel = (value, pixel) => {
  const unit = 10 ** Math.floor(Math.log10(pixel));
  return Number((Math.round(value / unit) * unit).toPrecision(6));
};

function distance(event, [p, s], { window: { x, y } }) {
  const box = byId("plane").getBoundingClientRect();
  const { left, top, width, height } = figures.plane.view.frame.bbox;
  const across = left + ((p - x[0]) / (x[1] - x[0])) * width;
  const down = top + (1 - (s - y[0]) / (y[1] - y[0])) * height;
  return Math.hypot(event.clientX - box.left - across, event.clientY - box.top - down);
}

function nearest(event, state) {
  const far = state.starts.map((start) => distance(event, placed(start, state), state));
  const least = Math.min(...far);
  return least <= NEAR ? far.indexOf(least) : null;
}
