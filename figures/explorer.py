"""A screenshot of the explorer's page, taken in a browser.

    python figures/explorer.py [--out figures/explorer.png]

Needs `pip install -e '.[test]'` and Chromium. The bytes of the picture depend on the browser
and its fonts, so `make.py` does not draw it.
"""

import argparse
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Sequence

import lindyn as ld
from lindyn import explore


STARTS = ((0.1, 0.5), (-0.25, 0.3), (-0.3, 0.12), (0.95, 0.03), (1.2, 0.9))
FLAGS = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python figures/explorer.py")
    default = pathlib.Path(__file__).with_suffix(".png")
    parser.add_argument("--out", type=pathlib.Path, default=default)
    out = parser.parse_args(argv).out
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        print("explorer: needs Chromium, which is not on the PATH", file=sys.stderr)
        return 2
    from playwright.sync_api import sync_playwright

    page = explore.figure(ld.Params(eta=0.12), starts=STARTS)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        path = page.save(pathlib.Path(folder) / "explorer.html")
        browser = driver.chromium.launch(executable_path=program, args=FLAGS.split())
        tab = browser.new_page(viewport={"width": 1280, "height": 800})
        tab.goto(path.as_uri())
        tab.wait_for_selector("html[data-ready]", state="attached")
        tab.evaluate("lindyn.set({now: 6})")
        tab.wait_for_timeout(500)
        tab.screenshot(path=out)
        browser.close()
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
