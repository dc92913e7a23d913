"""Tests of the page as one complete file with the same bytes each time, and of its command."""

import html
import json
import re

import numpy as np
import pytest

import lindyn as ld
from lindyn.command import UsageError
from lindyn.explore import html_page as page, main, movie, plots
from lindyn.explore.presets import MENU, PRESETS, Config
from lindyn.phase import command as phase


MOST = 6e6  # bytes


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "x.html"
    assert main(["--wd", "0.04", "--start", "0.2", "0.3", "--out", str(path)]) == 0
    return path.read_text()


def given(text):
    found = re.search(r'<script type="application/json" id="given">(.*?)</script>', text)
    assert found
    return json.loads(found[1])


def test_the_page_is_one_small_file_that_asks_for_nothing(made):
    assert len(made.encode()) < MOST
    tags = re.sub(r"(<script[^>]*>).*?</script>", r"\1", made, flags=re.S)
    assert not re.search(r"<(link|img|iframe|object)\b|\bsrc=|@import|url\(", tags)


def test_the_same_command_gives_the_same_bytes(made, tmp_path):
    words = ["--wd", "0.04", "--start", "0.2", "0.3", "--out"]
    assert main([*words, str(tmp_path / "x.html")]) == 0
    assert (tmp_path / "x.html").read_text() == made


def test_a_network_of_given_modes(capsys, tmp_path):
    path = tmp_path / "x.html"
    words = ["--regime", "cosine", "--start", "0.2", "0.3", "0.9", "0.1", "--out", str(path)]
    assert main(words) == 0
    state = given(path.read_text())["state"]
    assert state["regime"] == "cosine" and state["starts"] == [[0.2, 0.3], [0.9, 0.1]]
    capsys.readouterr()
    assert main(["--regime", "cosine", "--start", *["0.1"] * 50]) == 2
    error = capsys.readouterr().err
    assert "at most 24 starts" in error and error.count("\n") == 1


def test_the_page_says_how_it_was_made(made):
    about = re.search(r'<meta name="lindyn" content="([^"]*)">', made)
    assert about
    assert "python -m lindyn.explore --wd 0.04 --start 0.2 0.3 (lindyn" in about[1]


def test_the_page_starts_from_the_flags(made):
    state = given(made)["state"]
    assert state["params"]["eta_p"] == state["params"]["eta_s"] == 0.04
    assert state["starts"] == [[0.2, 0.3]] and state["regime"] == "fixed"


def test_a_folder_and_json(folder, capsys):
    assert main(["--preset", "ema", "--beta", "0.1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == ["lindyn-out/explore.html"]
    assert told["command"] == "python -m lindyn.explore --preset ema --beta 0.1"
    state = given((folder / "lindyn-out" / "explore.html").read_text())["state"]
    assert state["regime"] == "ema" and state["params"]["beta"] == 0.1
    assert state["params"]["tau"] == 0 and state["preset"] == ""


def test_a_notebook_shows_the_whole_page_in_a_frame():
    params = ld.Params(alpha_p=2.0, eta_p=0.1, eta_s=np.float32(0.05), sigma2=0.3)
    shown = ld.explore.figure(params, regime="ema", starts=[(0.1, 0.2)], height=500)
    frame = shown._repr_html_()
    assert frame.startswith("<iframe") and "height:500px" in frame
    content = re.search(r'srcdoc="([^"]*)"', frame)
    assert content and html.unescape(content[1]) == shown.html
    state = given(shown.html)["state"]
    assert state["split"] and state["params"]["eta_p"] == 0.1
    assert state["starts"] == [[0.1, 0.2]]
    assert repr(shown) == "Page(height=500)"


def test_a_figure_is_the_same_each_time(tmp_path):
    first, second = ld.explore.figure(), ld.explore.figure()
    assert first == second
    assert first.save(tmp_path / "x.html").read_text() == second.html


@pytest.mark.parametrize(
    "wrong",
    (
        dict(params=ld.Params(tau=float("nan"))),
        dict(params=ld.Params(eta=-1.0)),
        dict(starts=[(0.1, -1.0)]),
        dict(eps=-1.0),
        dict(time=0.0),
        dict(run="nowhere"),
    ),
    ids=str,
)
def test_what_has_no_picture_is_refused(wrong):
    with pytest.raises(UsageError):
        ld.explore.figure(**wrong)


def test_presets_are_those_of_phase():
    for name, i in (("none", 0), ("weak", 1), ("strong", 2)):
        ours, theirs = PRESETS[f"fig3-{name}"], phase.PRESETS["fig3"]
        assert ours.wd == theirs.wd[i] == phase.PRESETS["fig4"].wd[i]
        assert (ours.p_range, ours.s_range) == (theirs.p_range, theirs.s_range)
    for name, i in (("critical", 1), ("window", 1), ("split", 0)):
        ours, theirs = PRESETS[name], phase.PRESETS[name]
        assert (ours.wd, ours.wd_p, ours.wd_s) == (theirs.wd[i], theirs.wd_p, theirs.wd_s)
    assert {name for names in MENU.values() for name in names} == set(PRESETS)


def test_every_class_of_fixed_point_has_a_mark_of_its_own():
    looks = ("marker", "angle", "hollow")
    shapes = [tuple(mark[look] for look in looks) for mark in plots.marks().values()]
    assert len(set(shapes)) == len(shapes)


def test_a_run_is_in_the_page(monkeypatch, tmp_path):
    run = dict(name="<run>", epochs=[0.0], p=[[0.1]], s=[[float("nan")]], params=[{}], notes=[])
    monkeypatch.setattr(movie, "movie", lambda path: run)
    assert main(["--run", "x", "--out", str(tmp_path / "x.html")]) == 0
    found = given((tmp_path / "x.html").read_text())
    assert found["run"]["name"] == "<run>" and found["run"]["s"] == [[None]]
    assert found["state"]["record"] == 0 and found["state"]["follow"]
    assert page.build(Config(), run=run).html.count("<run>") == 0


def test_without_bokeh_it_says_what_to_install(monkeypatch, folder, capsys):
    import builtins
    import sys

    real = builtins.__import__

    def without(name, *args):
        if name.partition(".")[0] == "bokeh":
            raise ModuleNotFoundError(f"No module named '{name}'", name=name)
        return real(name, *args)

    for name in ("html_page", "plots"):
        monkeypatch.delitem(sys.modules, f"lindyn.explore.{name}")
        monkeypatch.delattr(f"lindyn.explore.{name}")
    monkeypatch.setattr(builtins, "__import__", without)
    assert main([]) == 2
    assert "pip install 'lindyn[explore]'" in capsys.readouterr().err
    assert list(folder.iterdir()) == []
