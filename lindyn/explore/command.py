"""The command `python -m lindyn.explore`, which writes the page to a file."""

import webbrowser
from collections.abc import Sequence

from lindyn import command
from lindyn.command import UsageError
from lindyn.explore.presets import PRESETS, Config, check


THEORY = ("wd", "wd_p", "wd_s", "alpha_p", "beta", "sigma2", "tau")


def main(argv: Sequence[str] | None = None) -> int:
    return command.run("explore", Config, _main, argv, PRESETS)


def _main(config: Config) -> int:
    check(config)
    if config.show and not _has_browser():
        raise UsageError("--show: there is no browser to open")
    page = _page()
    preset = PRESETS.get(config.preset or "")
    run = _run(config)
    path = command.targets(config.out, "explore", (), ("html",))["html"]
    about = command.provenance("explore", config, preset)
    untouched = all(getattr(config, name) == getattr(Config(), name) for name in THEORY)
    line = f"{about['command']} ({about['version']})"
    page.build(config, run=run, follow=untouched, about=line).save(path)
    if config.json:
        print(command.as_json({**about, "files": [path]}))
    else:
        print(path)
    if config.show:
        webbrowser.open(path.resolve().as_uri())
    return command.DONE


def _page():
    try:
        from lindyn.explore import html_page
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "bokeh":
            raise
        raise UsageError("needs Bokeh: pip install 'lindyn[explore]'") from None
    return html_page


def _run(config):
    if config.run is None:
        return None
    from lindyn.explore import movie

    return movie.movie(config.run)


def _has_browser():
    try:
        webbrowser.get()
    except webbrowser.Error:
        return False
    return True
