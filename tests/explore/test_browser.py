"""Tests of the page in a real browser, offline and from a file: what a reader does with it.

One file, since all tests share the browser and the helpers that operate the page.
"""

import io
import json
import re
import shlex
import shutil
import xml.etree.ElementTree as ET

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import lindyn as ld
from lindyn.explore import html_page as page, main
from lindyn.explore.presets import PRESETS, Config
from lindyn.phase import command as phase
from lindyn.theory import stability


FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run"
FLAGS += " --disable-background-networking --disable-component-update --disable-sync"
DESKTOP = dict(viewport={"width": 1280, "height": 800})
PHONE = dict(viewport={"width": 390, "height": 844}, has_touch=True, device_scale_factor=2)
SLIDERS = {
    "wd": "fixed",
    "wd-p": "fixed",
    "wd-s": "fixed",
    "alpha-p": "fixed",
    "sigma2": "fixed",
    "tau": "fixed",
    "beta": "ema",
    "eps": "directpred",
    "time": "fixed",
}


@pytest.fixture(scope="module")
def browser():
    driver = pytest.importorskip("playwright.sync_api", reason="Playwright drives the browser")
    names = ("chromium", "chromium-browser", "google-chrome")
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip(f"there is no browser to open the page in: none of {', '.join(names)}")
    with driver.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=program, args=FLAGS.split())
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "explorer.html"
    assert main(["--out", str(path)]) == 0
    return path


@pytest.fixture
def visit(browser):
    """`visit(path, hash)` opens a page. It must log no warning or error, and use no network."""
    contexts, said = [], []

    def opened(path, hash="", **how):
        context = browser.new_context(offline=True, accept_downloads=True, **(how or DESKTOP))
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", lambda it: it.type in ("warning", "error") and said.append(it.text))
        tab.on("pageerror", lambda error: said.append(str(error)))
        outside = ("file:", "data:", "blob:", "about:")
        tab.on("request", lambda asked: asked.url.startswith(outside) or said.append(asked.url))
        tab.goto(path.as_uri() + hash)
        tab.wait_for_selector("html[data-ready]", state="attached")
        settle(tab)
        return tab

    yield opened
    for context in contexts:
        context.close()
    assert said == []


@pytest.fixture
def tab(visit, file):
    return visit(file)


def settle(tab):
    """Waits for two frames, after which the page has drawn and described its state."""
    tab.evaluate(
        "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"
    )


def state(tab):
    return tab.evaluate("lindyn.state")


def found(tab, expression):
    """A value of the last redraw. NaN and infinities become None, as in JavaScript's JSON."""
    return tab.evaluate(f"JSON.parse(JSON.stringify(lindyn.found.{expression}))")


def at(tab, p, s):
    """The coordinates on the screen of a point of the plane."""
    box = tab.locator("#plane").bounding_box()
    frame = tab.evaluate(
        "(({left, top, width, height}) => ({left, top, width, height}))"
        "(lindyn.views.plane.frame.bbox)"
    )
    x, y = (state(tab)["window"][name] for name in "xy")
    across = (p - x[0]) / (x[1] - x[0]) * frame["width"]
    down = (1 - (s - y[0]) / (y[1] - y[0])) * frame["height"]
    return box["x"] + frame["left"] + across, box["y"] + frame["top"] + down


def type_into(tab, name, value):
    tab.locator(f"#{name}-number").fill(str(value))
    settle(tab)


def picture(tab):
    return Image.open(io.BytesIO(tab.locator("#plane").screenshot())).convert("RGB")


@pytest.mark.parametrize("name", SLIDERS)
def test_a_slider_moves_everything(tab, name):
    tab.locator(f"input[name=regime][value={SLIDERS[name]}]").check()
    tab.locator("#split").set_checked(name in ("wd-p", "wd-s"))
    settle(tab)
    slider, seen = tab.locator(f"#{name}"), picture(tab).tobytes()
    before = state(tab), tab.locator("#course").screenshot()
    assert slider.is_visible()
    slider.focus()
    for _ in range(4):
        slider.press("PageDown" if name in ("tau", "time") else "PageUp")
    settle(tab)
    after = state(tab)
    changed = {
        key for key in after["params"] if after["params"][key] != before[0]["params"][key]
    }
    expected = {"wd": {"eta_p", "eta_s"}, "wd-p": {"eta_p"}, "wd-s": {"eta_s"}}
    other = {"eps": "rule", "time": "time"}
    if name in other:
        assert not changed and after[other[name]] != before[0][other[name]]
    else:
        assert changed == expected.get(name, {name.replace("-", "_")})
    assert tab.locator("#course").screenshot() != before[1]
    if name not in ("time", "beta"):  # the plane shows neither of them
        assert picture(tab).tobytes() != seen


MOVE = """async () => {
  const slider = document.getElementById("wd"), times = [], late = [];
  for (let i = 1; i <= 30; i++) {
    slider.value = i / 100;
    const begin = performance.now();
    slider.dispatchEvent(new Event("input"));
    await new Promise(requestAnimationFrame);
    await new Promise((done) => setTimeout(done));
    times.push(performance.now() - begin);
    const [moved, drawn] = [Number(slider.value), lindyn.found.params.eta_s];
    if (moved !== drawn) late.push([moved, drawn]);
  }
  return [times.sort((a, b) => a - b)[15], late];
}"""


def test_the_frame_after_a_slider_moves_shows_it(tab, record_property):
    median, late = tab.evaluate(MOVE)
    record_property("redraw_ms", median)  # benchmarks/explorer.py measures it precisely
    assert late == []


SETTINGS = (
    {"wd": 0.04, "sigma2": 0.3, "tau": 0.9, "alpha-p": 2},
    {"wd": 0.2},
    {"wd": 0.3},
    {"wd": 0},
    {"wd-p": 0.1, "wd-s": 0.05, "alpha-p": 0.5},
)


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_the_page_and_its_command_agree(tab, tmp_path, capsys, setting):
    """`lindyn phase --json`, with the flags that the page shows, gives the page's numbers."""
    tab.locator("#split").set_checked("wd-p" in setting)
    for name, value in setting.items():
        type_into(tab, name, value)
    words = shlex.split(tab.locator("#command").inner_text())
    assert words[:3] == ["python", "-m", "lindyn.phase"]
    assert phase.main([*words[3:], "--json", "--out", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out)["panels"][0]
    points = {point["name"]: point for point in told["fixed_points"]}
    fixed, kinds = found(tab, "fixed"), stability.KINDS
    for i, name in enumerate(("collapsed", "edge", "goal")):
        if name not in points:
            assert fixed["p"][i] is None and kinds[fixed["kind"][i]] == "none"
            continue
        assert fixed["p"][i] == pytest.approx(points[name]["p"], rel=1e-9, abs=1e-9)
        assert fixed["s"][i] == pytest.approx(points[name]["s"], rel=1e-9, abs=1e-9)
        assert kinds[fixed["kind"][i]] == points[name]["class"]
    assert found(tab, "share") == pytest.approx(told["collapsing_share"], abs=0.01)
    assert found(tab, "critical") == pytest.approx(told["critical_decay"], rel=1e-12)


def test_a_click_launches_the_trajectory_of_the_theory(tab):
    tab.locator("#clear").click()
    tab.mouse.click(*at(tab, 0.3, 0.6))
    settle(tab)
    now, (p, s) = state(tab), state(tab)["starts"][0]
    assert (p, s) == pytest.approx((0.3, 0.6), abs=0.02)
    run = found(tab, "runs[0].forward")
    params = ld.Params(**now["params"])
    start = ld.fields.Plane(p=jnp.asarray(p), s=jnp.asarray(s))
    ts = jnp.asarray(run["t"])
    told = ld.trajectory(ld.fields.modes_fixed_tau, start, params, ts, rtol=1e-10, atol=1e-12)
    assert np.allclose(run["p"], told.p, atol=1e-5) and np.allclose(run["s"], told.s, atol=1e-5)
    assert run["t"][-1] == pytest.approx(now["time"])
    assert len(found(tab, "runs[0].backward.p")) > 2


def test_starts_are_dragged_taken_back_and_cleared(tab):
    before = state(tab)["starts"]
    tab.mouse.move(*at(tab, *before[0]))
    tab.mouse.down()
    tab.mouse.move(*at(tab, 0.8, 0.7), steps=5)
    tab.mouse.up()
    settle(tab)
    moved = state(tab)["starts"]
    assert moved[0] == pytest.approx((0.8, 0.7), abs=0.02) and moved[1:] == before[1:]
    tab.locator("#undo").click()
    assert state(tab)["starts"] == moved[:-1]
    tab.locator("#clear").click()
    assert state(tab)["starts"] == []


def test_all_of_it_by_keyboard(tab):
    tab.locator("#clear").click()
    tab.locator("#plane").focus()
    for key in ("ArrowLeft", "ArrowUp", "ArrowUp", "Shift+ArrowUp", "Enter"):
        tab.keyboard.press(key)
    settle(tab)
    x, y = (state(tab)["window"][name] for name in "xy")
    steps = (0.5 - 1 / 40), (0.5 + 6 / 40)
    place = [low + part * (high - low) for part, (low, high) in zip(steps, (x, y), strict=True)]
    assert state(tab)["starts"] == [pytest.approx(place)]
    tab.keyboard.press("+")
    settle(tab)
    assert state(tab)["window"]["x"][1] < x[1]
    tab.keyboard.press("Backspace")
    settle(tab)
    assert state(tab)["starts"] == []


def test_words_follow_the_settings(tab):
    type_into(tab, "wd", 0.3)
    verdict = tab.locator("#verdict").inner_text()
    assert "0.25" in verdict and "collapses" in verdict and "Observation 5" in verdict
    type_into(tab, "wd", 0.01)
    assert "Observation 5" not in tab.locator("#verdict").inner_text()
    assert tab.locator("#observations dt").count() > 0


def test_the_pointer_is_told_of(tab):
    tab.mouse.move(*at(tab, 0.2, 0.1))
    settle(tab)
    said = tab.locator("#pointer").inner_text().replace("−", "-")
    number = lambda before: float(re.findall(rf"{before} ([-.\de]*\d)", said)[0])
    p, s = number(r"\bp ="), number(r"\bs =")
    assert (p, s) == pytest.approx((0.2, 0.1), abs=0.01)
    margin = float(ld.theory.alignment_margin(p, s, ld.Params(eta=0.01)))
    assert number(r"K \(17\) is") == pytest.approx(margin, 0.02)


def test_a_link_brings_the_same_picture(visit, file, tab):
    tab.locator("input[name=regime][value=ema]").check()
    type_into(tab, "wd", 0.07)
    type_into(tab, "beta", 0.2)
    tab.locator("#zoom-in").click()
    tab.mouse.click(*at(tab, 0.4, 0.2))
    tab.wait_for_timeout(400)  # the page updates its address a few times a second
    address = tab.evaluate("location.hash")
    other = visit(file, address)
    kept = ("regime", "params", "rule", "starts", "time")
    assert {key: state(other)[key] for key in kept} == {key: state(tab)[key] for key in kept}
    for name in "xy":
        assert state(other)["window"][name] == pytest.approx(state(tab)["window"][name])
    assert other.locator("#verdict").inner_text() == tab.locator("#verdict").inner_text()


def test_a_broken_link_is_said_to_be_one(visit, file):
    tab = visit(file, "#wd=much&tau=-3&regime=none&colour=red&alpha-p=2&start=1")
    assert tab.locator("#notice").is_visible()
    for word in ("wd=much", "tau=-3", "regime=none", "colour=red", "start=1"):
        assert word in tab.locator("#notice").inner_text()
    assert state(tab)["params"]["alpha_p"] == 2


def test_numbers_beyond_the_slider_and_beyond_reason(tab):
    type_into(tab, "wd", 3)
    assert state(tab)["params"]["eta_s"] == 3
    for wrong in ("-1", "much", "", "1e-300"):
        type_into(tab, "wd", wrong)
        assert state(tab)["params"]["eta_s"] == 3
        assert tab.locator("#wd-number").get_attribute("aria-invalid") == "true"


@pytest.mark.parametrize("kind", ("png", "svg"))
def test_the_plane_is_exported(tab, tmp_path, kind):
    with tab.expect_download() as waiting:
        tab.locator(f"#{kind}").click()
    path = tmp_path / waiting.value.suggested_filename
    waiting.value.save_as(path)
    assert path.name == f"lindyn-phase.{kind}"
    if kind == "png":
        image = Image.open(path)
        assert min(image.size) > 500 and len(image.convert("RGB").getcolors(1 << 20) or []) > 20
    else:
        drawing = ET.parse(path).getroot()
        assert drawing.tag.endswith("svg") and len(list(drawing.iter())) > 30
        assert "wd=0.01" in ET.tostring(drawing, "unicode")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_drawn_and_told(tab, name):
    tab.locator("#preset").select_option(name)
    settle(tab)
    said = tab.locator("#words").inner_text() + tab.locator("#beneath").inner_text()
    assert tab.locator("#verdict").inner_text().endswith(".")
    assert not any(word in said for word in ("NaN", "undefined", "Infinity", "null"))


def test_time_goes_by(tab):
    tab.locator("#play").click()
    tab.wait_for_timeout(300)
    moved = state(tab)["now"]
    tab.locator("#play").click()
    assert 0 < moved < state(tab)["time"]
    stopped = state(tab)["now"]
    tab.wait_for_timeout(100)
    assert state(tab)["now"] == stopped


def test_with_an_ema_the_plane_is_that_of_the_moment(tab):
    tab.locator("#preset").select_option("ema")
    settle(tab)
    taus = []
    for part in (0.0, 0.5, 1.0):
        tab.evaluate(f"lindyn.set({{now: {part} * lindyn.state.time}})")
        taus.append(found(tab, "params.tau"))
    assert taus[0] < taus[1] < taus[2] and taus[0] == pytest.approx(state(tab)["params"]["tau"])


def test_all_starts_of_a_cosine_are_one_network(tab):
    tab.locator("input[name=regime][value=cosine]").check()
    settle(tab)
    for name in ("wd", "tau", "beta", "eps"):
        assert not tab.locator(f"#{name}").is_visible()
    assert not tab.locator("#split").is_visible() and tab.locator("#sigma2").is_visible()
    ends = lambda: np.array(found(tab, "runs.map(({forward: {p, s}}) => [p.at(-1), s.at(-1)])"))
    window, before, starts = state(tab)["window"], ends(), state(tab)["starts"]
    seen = tab.locator("#course").screenshot()
    tab.mouse.move(*at(tab, *starts[1]))
    tab.mouse.down()
    tab.mouse.move(*at(tab, 0.4, 0.8), steps=5)
    tab.mouse.up()
    settle(tab)
    others = [0, 2, 3]
    assert [state(tab)["starts"][i] for i in others] == [starts[i] for i in others]
    moved = np.abs(ends() - before).max(axis=1)
    # The last mode dies, and its own c fixes where.
    assert min(moved[[0, 2]]) > 1e-2 and moved[3] < 1e-6
    assert tab.locator("#course").screenshot() != seen
    assert state(tab)["window"] == window  # dragging does not move the window
    tab.locator("#undo").click()
    settle(tab)
    p, s = np.array(state(tab)["starts"]).T
    lives, m = ld.cosine.survivors(jnp.asarray(p), jnp.asarray(s), 1.0)
    assert found(tab, "fate") == dict(lives=lives.tolist(), m=pytest.approx(float(m)))
    tab.locator("#fit").click()
    tab.wait_for_timeout(400)
    (x, y), kept = (state(tab)["window"][name] for name in "xy"), state(tab)["starts"]
    assert x[0] < float(m) < x[1] and all(s < y[1] for _, s in ends())
    tab.reload()
    tab.wait_for_selector("html[data-ready]", state="attached")
    assert state(tab)["starts"] == kept and state(tab)["regime"] == "cosine"
    assert state(tab)["window"] == dict(x=pytest.approx(x), y=pytest.approx(y))
    tab.locator("#clear").click()
    settle(tab)
    assert found(tab, "runs") == [] and not tab.locator("#command-row").is_visible()


@pytest.mark.parametrize("scheme", ("light", "dark"))
def test_light_and_dark(visit, file, scheme):
    tab = visit(file, color_scheme=scheme, **DESKTOP)
    corner = lambda: np.asarray(picture(tab))[2, 2].sum(dtype=int)
    assert (corner() < 200) == (scheme == "dark")
    tab.locator("#theme").click()
    settle(tab)
    assert (corner() < 200) != (scheme == "dark")


def test_on_a_phone(visit, file):
    tab = visit(file, **PHONE)
    assert tab.evaluate("document.documentElement.scrollWidth") <= 390
    for button in tab.locator("button:visible").all():
        box = button.bounding_box()
        assert box and box["height"] >= 40
    tab.locator("#plane").scroll_into_view_if_needed()
    before = len(state(tab)["starts"])
    tab.touchscreen.tap(*at(tab, 0.5, 0.5))
    settle(tab)
    assert len(state(tab)["starts"]) == before + 1


def test_a_run_is_a_movie_over_the_plane(visit, tmp_path):
    record = dict(alpha_p=1.0, beta=None, eta_p=0.02, eta_s=0.02, sigma2=0.1, tau=0.5)
    run = dict(
        name="run",
        epochs=[0.0, 1.0, 2.0],
        steps=[0, 10, 20],
        p=[[0.1, 0.2], [0.2, 0.3], [0.4, 0.5]],
        s=[[0.1, 0.2], [0.2, 0.3], [0.4, 0.5]],
        tau=[0.5, 0.6, 0.7],
        params=[record, record | {"tau": 0.6}, record | {"tau": 0.7}],
        notes=["a note"],
    )
    path = page.build(Config(), run=run, follow=True).save(tmp_path / "run.html")
    tab = visit(path)
    assert "a note" in tab.locator("#run").inner_text()
    assert state(tab)["params"]["tau"] == pytest.approx(0.7)
    before = picture(tab).tobytes()
    tab.locator("#epoch").focus()
    tab.keyboard.press("Home")
    settle(tab)
    assert state(tab)["params"]["tau"] == pytest.approx(0.5)
    assert picture(tab).tobytes() != before
    tab.locator("#follow").uncheck()
    tab.keyboard.press("Tab")
    type_into(tab, "tau", 0.9)
    assert state(tab)["params"]["tau"] == pytest.approx(0.9)
