"""Tests of the sweep command: its files, its numbers, and how a killed sweep continues."""

import json
import pathlib
import shlex
import signal
import subprocess
import sys
import time

import matplotlib.image
import numpy as np
import pytest

from lindyn import command, plot, theory
from lindyn.sweep import checkpoints, command as sweep, flow_maps, summary
from lindyn.theory.states import Params


SMALL = ["--x", "wd", "0", "0.3", "24", "--y", "tau", "0.3", "1", "20"]
FILES = ("sweep.png", "sweep.npz", "sweep.json")


def run(*argv):
    assert sweep.main([*SMALL, *argv]) == 0


def report(capsys, *argv):
    run("--json", *argv)
    return json.loads(capsys.readouterr().out)


def read(path):
    with np.load(path) as file:
        return dict(file)


def left_of_chunks(folder):
    return [path for path in folder.rglob("*.npz") if "chunks" in path.parent.name]


def test_the_default_writes_a_picture_its_numbers_and_the_map(folder, capsys):
    run()
    shown = capsys.readouterr().out
    assert all(f"lindyn-out/{name}" in shown for name in FILES)
    assert "share of modes that collapse" in shown and "cells from the computed" in shown
    assert "p0 = 0.5 tau/(1 + sigma2), s0 = p0^2/alpha_p" in shown
    picture = matplotlib.image.imread(folder / "lindyn-out/sweep.png")
    assert picture.shape[0] > 500 and picture[..., :3].std() > 0.05
    assert sorted(path.name for path in (folder / "lindyn-out").iterdir()) == sorted(FILES)


def test_the_map_and_its_axes_are_in_the_npz(folder, capsys):
    found = report(capsys, "--sigma2", "0.5")
    map_ = read(folder / "lindyn-out/sweep.npz")
    assert np.allclose(map_["x"], np.linspace(0, 0.3, 24), rtol=1e-14)
    assert np.allclose(map_["y"], np.linspace(0.3, 1, 20), rtol=1e-14)
    assert map_["value"].shape == (20, 24) and map_["failed"].shape == (20, 24)
    critical = theory.critical_decay(Params(sigma2=0.5, tau=map_["y"][:, None]))
    assert np.array_equal(map_["value"] == 1, map_["x"] > critical)
    assert found["share"] == map_["value"].mean()
    about = json.loads(str(map_["about"]))
    assert about["command"] == found["command"] and about["fixed"]["sigma2"] == 0.5


def test_the_json_tells_how_far_the_closed_form_is(folder, capsys):
    found = report(capsys)["closed_form"]
    assert found["distance_in_cells"] <= 0.5 and found["cells_that_differ"] == 0
    assert np.isclose(found["distance_along_x"], found["distance_in_cells"] * 0.3 / 23)
    eta, tau = np.transpose(found["curves"]["critical decay"])
    assert len(eta) > 20 and np.allclose(eta, tau**2 / 4, rtol=1e-5)


def test_shares_of_a_basin_come_with_their_error(folder, capsys):
    run("--quantity", "basin", "--starts", "25")
    map_ = read(folder / "lindyn-out/sweep.npz")
    share = map_["value"]
    assert np.allclose(map_["error"], np.sqrt(share * (1 - share) / 25))
    assert "25 at random in every cell" in capsys.readouterr().out


def test_a_log_axis(folder, capsys):
    argv = ("--x", "wd", "1e-3", "1", "31", "--x-scale", "log")
    found = report(capsys, *argv)
    x = read(folder / "lindyn-out/sweep.npz")["x"]
    assert np.allclose(x[1:] / x[:-1], 1000 ** (1 / 30), rtol=1e-12)
    assert found["closed_form"]["distance_along_x"] <= 0.05 + 1e-12  # half a cell, in decades


def test_what_is_not_decided_is_told_and_drawn(folder, capsys):
    """Exactly at the critical decay a mode rests at the saddle-node: it is undecided."""
    argv = ("--x", "wd", "0", "0.5", "9", "--y", "alpha-p", "1", "2", "3")
    found = report(capsys, *argv)
    assert found["undecided"] == 3 and found["failed"] == 0
    map_ = read(folder / "lindyn-out/sweep.npz")
    assert np.isnan(map_["value"][:, 4]).all() and map_["undecided"][:, 4].all()
    assert found["closed_form"]["distance_in_cells"] <= 0.5
    run(*argv)
    assert "3, 0" in capsys.readouterr().out


@pytest.mark.parametrize("name", sweep.PRESETS)
def test_every_preset_draws_and_flags_change_it(name, folder, capsys):
    preset = sweep.PRESETS[name]
    argv = ["--preset", name, "--alpha-p", "2", "--json"]
    for flag, axis in (("--x", preset.x), ("--y", preset.y)):
        argv += [flag, *map(str, axis[:3]), "12"]
    argv += ["--time", "60"] if name in ("rate", "rank") else []
    assert sweep.main(argv) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"]["quantity"] == preset.quantity
    assert found["fixed"]["alpha-p"] == 2.0 and found["failed"] == 0
    assert (folder / "lindyn-out/sweep.png").stat().st_size > 10_000


def test_steps_are_told_from_the_flow(folder, capsys):
    argv = ["--x", "lr", "0.01", "10", "5", "--y", "wd", "0", "0.5", "4", "--time", "2000"]
    found = report(capsys, *argv, "--nesterov")
    assert found["field"] == "steps" and found["diverged"] > 0 and found["share"] > 0
    assert found["trainer"]["nesterov"] and found["trainer"]["decay"] == "coupled"
    assert found["fixed"]["momentum"] == 0.9 and found["fixed"]["sigma2"] == 0.3
    assert read(folder / "lindyn-out/sweep.npz")["diverged"].sum() == found["diverged"]
    run(*argv)
    assert "solves that diverge" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv, message",
    (
        (("--lr", "0.1"), "--y tau: without --ema the target is the online network"),
        (("--beta", "0.1", "--lr", "0.1"), "--beta: the target of steps follows at --ema"),
        (("--field", "modes", "--lr", "0.1"), "--lr: only steps have it"),
        (("--nesterov",), "--nesterov: only steps have it"),
        (("--dim", "4"), "--dim: only steps have it"),
        (("--quantity", "basin", "--lr", "0.1"), "of the flow alone"),
        (("--quantity", "rank", "--field", "modes"), "of networks in steps"),
        (("--quantity", "rank"), "--y tau: networks start at random"),
        (("--y", "lr", "0.1", "1", "4", "--loss", "cosine"), "its modes compete"),
        (("--y", "lr", "0.1", "1", "4", "--batch", "8"), "--batch: only networks have one"),
        (("--y", "lr", "0.1", "1", "4", "--time", "1.5"), "a number of steps"),
        (("--y", "lr", "0.1", "1", "4", "--momentum", "1"), "at most 0.9999"),
        (("--y", "lr", "0.1", "1", "4", "--quantity", "rank", "--p0", "1"), "--p0: networks"),
        (("--y", "lr", "0.1", "1", "4", "--quantity", "rank", "--dim", "99"), "at most 16"),
        (("--y", "sigma2", "0", "1", "4", "--quantity", "rank"), "have the same data"),
    ),
    ids=" ".join,
)
def test_what_steps_and_flows_do_not_share_is_refused(argv, message, capsys):
    assert sweep.main([*SMALL[:5], *argv]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("quantity", ("p", "s", "alignment"))
def test_other_quantities_draw_too(quantity, folder, capsys):
    found = report(capsys, "--quantity", quantity, "--time", "5")
    assert found["least"] < found["greatest"] and found["time"] == 5.0
    assert found["share"] is None


@pytest.mark.parametrize(
    "asked",
    (
        ["--quantity", "basin", "--starts", "5", "--seed", "1", "--p-range", "0", "1"],
        ["--preset", "ema", "--field", "modes", "--wd", "0.05"],
        ["--preset", "window", "--sigma2", "0.5", "--time", "50"],
        ["--preset", "speed", "--y-scale", "linear"],
    ),
    ids=" ".join,
)
def test_the_command_in_the_file_draws_the_same_picture(asked, folder):
    small = [] if "--preset" in asked else SMALL
    if "ema" in asked:
        small = ["--x", "beta", "0.1", "1", "9", "--y", "tau", "0", "1", "9"]
    elif small == []:
        small = ["--x", "wd", "0", "0.3", "9"]
    assert sweep.main([*asked, *small, "--out", "first.png"]) == 0
    first = json.loads((folder / "first.json").read_text())
    argv = shlex.split(first["command"])[3:]
    assert sweep.main([*argv, "--out", "second.png"]) == 0
    for suffix in ("png", "json", "npz"):
        first, second = (folder / f"{name}.{suffix}" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize("suffix", ("png", "svg", "pdf"))
def test_each_picture_says_how_to_redraw_it(suffix, folder):
    run("--sigma2", "0.5", "--out", f"here/x.{suffix}")
    content = (folder / f"here/x.{suffix}").read_bytes()
    said = "python -m lindyn.sweep --x wd 0.0 0.3 24 --y tau 0.3 1.0 20 --sigma2 0.5"
    assert said.encode() in content or said.encode("utf-16-be") in content
    assert (folder / "here/x.json").exists() and (folder / "here/x.npz").exists()


def test_without_a_picture(folder):
    run("--format", "npz", "json")
    assert sorted(path.name for path in (folder / "lindyn-out").iterdir()) == sorted(FILES[1:])


def test_a_dry_run_writes_nothing(folder, capsys):
    argv = ("--quantity", "basin", "--starts", "10", "--chunk", "600", "--dry-run")
    run(*argv)
    shown = capsys.readouterr().out
    assert "4800 solves in 8 chunks, 8 of them not done yet" in shown
    assert "MB of memory" in shown and "would write lindyn-out/sweep.npz" in shown
    run(*argv, "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["solves"] == 4800 and found["chunks"] == 8 and found["seconds"] > 0
    assert list(folder.iterdir()) == []


def test_an_interrupt_keeps_what_was_done(folder, capsys, monkeypatch):
    right, calls = flow_maps.compute, []

    def until_the_third(setting, cells):
        if len(calls) == 2:
            raise KeyboardInterrupt
        calls.append(len(cells))
        return right(setting, cells)

    monkeypatch.setattr(flow_maps, "compute", until_the_third)
    assert sweep.main([*SMALL, "--chunk", "100"]) == command.INTERRUPTED
    said = capsys.readouterr().err
    assert "2 of 5 chunks are kept: lindyn-out/sweep.chunks-" in said and "interrupted" in said
    assert len(left_of_chunks(folder)) == 2
    calls.clear()
    monkeypatch.setattr(
        flow_maps, "compute", lambda *args: calls.append(len(args[1])) or right(*args)
    )
    run("--chunk", "100", "--alpha-p", "2")  # another map, which has no chunks
    assert calls == [96] * 5 and len(left_of_chunks(folder)) == 2
    calls.clear()
    run("--chunk", "100")
    assert calls == [96] * 3 and left_of_chunks(folder) == []


def test_a_killed_sweep_goes_on_to_the_same_bytes(folder):
    argv = [sys.executable, "-m", "lindyn.sweep", *SMALL, "--quantity", "s", "--chunk", "1"]
    killed = subprocess.Popen([*argv, "--out", "killed"], stderr=subprocess.DEVNULL)
    while not left_of_chunks(folder) and killed.poll() is None:
        time.sleep(0.002)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    done = len(left_of_chunks(folder))
    assert 1 <= done < 480 and not (folder / "killed/sweep.png").exists()
    for out in ("killed", "whole"):
        subprocess.run([*argv, "--out", out], check=True, capture_output=True)
    assert left_of_chunks(folder) == []
    for name in FILES:
        assert (folder / "killed" / name).read_bytes() == (folder / "whole" / name).read_bytes()


def test_a_torn_chunk_is_computed_again(folder):
    parts = checkpoints.Chunks(pathlib.Path("x.npz"), {"a": 1}, 10, 4)
    assert parts.spans == [(0, 3), (3, 6), (6, 10)] and parts.missing() == parts.spans
    for first, last in parts.spans:
        parts.keep((first, last), {"value": np.arange(first, last)})
    assert parts.gather()["value"].tolist() == [*range(10)]
    torn = sorted(parts.folder.iterdir())[1]
    torn.write_bytes(torn.read_bytes()[:50])
    assert parts.missing() == [(3, 6)]
    other = checkpoints.Chunks(pathlib.Path("x.npz"), {"a": 2}, 10, 4)
    assert other.folder != parts.folder and len(other.missing()) == 3


def test_no_text_leaves_the_figure(folder):
    for name, preset in sweep.PRESETS.items():
        small = (*preset.x[:3], 9), (*preset.y[:3], 9)
        config = sweep.dataclasses.replace(preset, x=small[0], y=small[1])
        if name in ("rate", "rank"):
            config = sweep.dataclasses.replace(config, time=60.0)
        setting = sweep.specification_of(config)
        drawn = summary.chart(setting, flow_maps.compute(setting, np.arange(81)))
        fig = plot.map_figure(drawn, summary.title(setting), summary.note(setting))
        fig.draw_without_rendering()
        width, height = fig.get_size_inches() * fig.dpi
        texts = [*fig.texts, *fig.legends, *fig.axes[0].texts, fig.axes[0].title]
        texts += [ax.yaxis.label for ax in fig.axes] + [fig.axes[0].xaxis.label]
        for text in texts:
            box = text.get_window_extent()
            assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height, name
