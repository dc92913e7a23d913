"""Times of the explorer's page: the first draw, and the redraw after a slider moves.

    python benchmarks/explorer.py            (pip install -e '.[test]', and a chromium)

First draw: from the start of the navigation to the first picture; the page is loaded from a
file, each time in a new browser profile. Redraw: from the input event of a slider to the end of
the frame that shows it; each slider is moved `--moves` times. A frame of the screen lasts
16.7 ms, and an event waits for the next frame. Work is the part of the redraw time that
computes and paints.
"""

import argparse
import pathlib
import shutil
import statistics
import tempfile

from playwright.sync_api import sync_playwright

from lindyn.explore import figure


FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"
SLIDERS = {"wd": "fixed", "alpha-p": "fixed", "sigma2": "fixed", "tau": "fixed"}
SLIDERS |= {"beta": "ema", "eps": "directpred", "time": "fixed", "now": "ema"}
MOVE = """async ([name, moves]) => {
  const slider = document.getElementById(name), [low, high] = [+slider.min, +slider.max];
  const times = [];
  for (let i = 0; i < moves; i++) {
    slider.value = low + (high - low) * (0.2 + 0.6 * ((i * 0.618) % 1));
    const begin = performance.now();
    slider.dispatchEvent(new Event("input", {bubbles: true}));
    let work;
    await new Promise((done) => requestAnimationFrame((frame) => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = done;
      port2.postMessage(0);
      work = frame;
    }));
    const end = performance.now();
    times.push([end - begin, end - Math.max(work, begin)]);
  }
  return times;
}"""
DRAWN = "performance.getEntriesByName('lindyn-ready')[0].startTime"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--moves", type=int, default=60)
    parser.add_argument("--visits", type=int, default=7)
    options = parser.parse_args()
    program = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        path = figure().save(pathlib.Path(folder) / "explorer.html")
        browser = driver.chromium.launch(executable_path=program, args=FLAGS.split())
        print(f"Chromium {browser.version}, {path.stat().st_size / 1e6:.2f} MB")
        firsts = []
        for _ in range(options.visits):
            tab = browser.new_context(viewport={"width": 1280, "height": 800}).new_page()
            tab.goto(path.as_uri())
            tab.wait_for_selector("html[data-ready]", state="attached")
            firsts.append(tab.evaluate(DRAWN))
            if len(firsts) < options.visits:
                tab.context.close()
        print(f"first draw, ms: median {statistics.median(firsts):.0f}, most {max(firsts):.0f}")
        print(f"{'slider':9s} {'median':>7s} {'90 %':>7s} {'work':>7s}   ms")
        for name, regime in SLIDERS.items():
            tab.locator(f"input[name=regime][value={regime}]").check()
            times = tab.evaluate(MOVE, [name, options.moves])
            whole, work = (sorted(each) for each in zip(*times, strict=True))
            middle = statistics.median(whole), whole[int(0.9 * len(whole))]
            print(f"{name:9s} {middle[0]:7.1f} {middle[1]:7.1f} {statistics.median(work):7.1f}")
        browser.close()


if __name__ == "__main__":
    main()
