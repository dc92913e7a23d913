"""Tests of the phase command: its files, its numbers, and the same bytes each time."""

import json
import os
import re
import shlex
import subprocess
import sys

import matplotlib.image
import numpy as np
import pytest

from lindyn import plot, theory
from lindyn.phase import command as phase, portrait, summary
from lindyn.theory import stability
from lindyn.theory.states import Params


QUICK = ["--grid", "6"]


def run(*argv):
    assert phase.main([*QUICK, *argv]) == 0


def report(capsys, *argv):
    run("--json", *argv)
    shown = capsys.readouterr()
    return json.loads(shown.out)


def test_the_parabola_needs_equal_decays_not_equal_flags(folder, capsys):
    flags = ["--plane", "p-tau", "--grid", "4", "--wd", "0.1", "--json"]
    assert phase.main([*flags, "--wd-p", "0.1"]) == 0
    assert phase.main([*flags, "--wd-p", "0.2"]) == 2


def test_the_default_writes_a_picture_and_its_numbers(folder, capsys):
    run("--wd", "0.1")
    shown = capsys.readouterr().out
    assert "lindyn-out/phase.png" in shown and "lindyn-out/phase.json" in shown
    assert "saddle" in shown and "critical decay 0.25" in shown
    picture = matplotlib.image.imread(folder / "lindyn-out/phase.png")
    assert picture.shape[0] > 500 and picture[..., :3].std() > 0.05


def test_the_numbers_are_those_of_the_theory(folder, capsys):
    found = report(capsys, "--wd", "0.1", "--sigma2", "0.5", "--tau", "0.8", "--alpha-p", "2")
    (panel,) = found["panels"]
    params = Params(eta=0.1, sigma2=0.5, tau=0.8, alpha_p=2.0)
    fixed = theory.fixed_points(params)
    assert [point["class"] for point in panel["fixed_points"]] == fixed.names
    for i, point in enumerate(panel["fixed_points"]):
        assert np.isclose(point["p"], fixed.y.p[i], rtol=1e-14)
        assert np.isclose(point["s"], fixed.y.s[i], rtol=1e-14)
        assert np.allclose([complex(*z) for z in point["eigenvalues"]], fixed.eigenvalues[i])
    assert panel["critical_decay"] == theory.critical_decay(params)
    assert np.isclose(panel["basin_edge_on_parabola"], fixed.y.p[1])
    assert 0 < panel["collapsing_share"] < 1


def test_above_the_critical_decay_one_point_is_left(folder, capsys):
    (panel,) = report(capsys, "--wd", "0.3")["panels"]
    assert len(panel["fixed_points"]) == 1 and panel["collapsing_share"] == 1
    assert panel["basin_edge_on_parabola"] == "inf"


@pytest.mark.parametrize("suffix", ("png", "svg", "pdf", "json"))
def test_each_file_says_how_to_redraw_it(suffix, folder, capsys):
    run("--wd", "0.1", "0.2", "--tau", "0.9", "--out", f"here/x.{suffix}")
    content = (folder / f"here/x.{suffix}").read_bytes()
    command = "python -m lindyn.phase --wd 0.1 0.2 --tau 0.9 --grid 6"
    escaped = command.encode().replace(b"(", rb"\(")
    assert escaped in content or command.encode("utf-16-be") in content
    assert b"lindyn 0." in content or "lindyn 0.".encode("utf-16-be") in content
    beside = json.loads((folder / "here/x.json").read_text())
    assert beside["command"] == command
    assert beside["parameters"]["tau"] == 0.9
    assert set(beside["panels"][0]["curves"]) > {"flow", "separatrix", "nullclines", "basin"}


@pytest.mark.parametrize(
    "asked",
    (
        ["--preset", "fig4", "--tau", "0.9"],  # the note names the preset
        ["--preset", "ema", "--plane", "p-s", "--wd", "0.1"],  # --plane back at its default
        ["--preset", "fig3", "--p-range", "None", "--wd", "0.2", "--no-flow"],
        ["--wd", "0.2", "--wd-s", "0.1", "--s-range", "0", "2", "--field"],
    ),
    ids=" ".join,
)
def test_the_command_in_the_file_draws_the_same_picture(asked, folder, capsys):
    run(*asked, "--out", "first.png")
    first = json.loads((folder / "first.json").read_text())
    argv = shlex.split(first["command"])[3:]
    assert phase.main([*argv, "--out", "second.png"]) == 0
    assert json.loads((folder / "second.json").read_text()) == first
    assert (folder / "first.png").read_bytes() == (folder / "second.png").read_bytes()


@pytest.mark.parametrize("epoch", ("1000000000", None))
def test_the_same_command_gives_the_same_bytes(epoch, folder):
    """Each call has its own process, with and without SOURCE_DATE_EPOCH."""
    formats = ("png", "svg", "pdf", "json")
    environment = {k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"}
    runs = []
    for i, change in enumerate(({}, {"SOURCE_DATE_EPOCH": epoch} if epoch else {})):
        argv = ["phase", *QUICK, "--wd", "0", "0.1", "--format", *formats, "--out", f"run{i}"]
        subprocess.run(
            [sys.executable, "-m", "lindyn", *argv],
            env=environment | change,
            check=True,
            capture_output=True,
        )
        runs.append([(folder / f"run{i}/phase.{suffix}").read_bytes() for suffix in formats])
    for suffix, first, second in zip(formats, *runs, strict=True):
        assert first == second, suffix


def test_json_is_all_there_is_on_stdout(folder, capsys):
    found = report(capsys, "--format", "svg")
    assert found["files"] == ["lindyn-out/phase.svg", "lindyn-out/phase.json"]
    assert not (folder / "lindyn-out/phase.png").exists()


@pytest.mark.parametrize("name", phase.PRESETS)
def test_every_preset_draws_and_flags_change_it(name, folder, capsys):
    found = report(capsys, "--preset", name, "--sigma2", "0.1")
    preset = phase.PRESETS[name]
    panels = preset.modes if preset.plane == "cosine" else preset.wd
    assert len(found["panels"]) == len(panels)
    assert found["parameters"]["sigma2"] == 0.1
    assert found["parameters"]["plane"] == phase.PRESETS[name].plane


@pytest.mark.parametrize("layer", plot.LAYERS)
def test_every_layer_can_be_switched(layer, folder, capsys):
    flag = layer.replace("_", "-")
    on, off = (f"--{flag}", f"--no-{flag}")
    pictures = []
    for switch in (on, off):
        run("--wd", "0.2", switch, "--out", "x.png")
        pictures.append((folder / "x.png").read_bytes())
    assert pictures[0] != pictures[1]


def test_windows_of_the_users_choice(folder, capsys):
    argv = ("--wd", "0.1", "--p-range", "-1", "2", "--s-range", "0.5", "3")
    (panel,) = report(capsys, *argv)["panels"]
    basin = json.loads((folder / "lindyn-out/phase.json").read_text())["panels"][0]["curves"]
    assert basin["basin"][0][0] == -1 and basin["basin"][-1][0] == 2
    assert panel["collapsing_share"] < 0.2


def test_the_ema_plane_tells_which_starts_survive_from_tau_0(folder, capsys):
    (panel,) = report(capsys, "--plane", "p-tau", "--wd", "0.2")["panels"]
    assert {"p", "tau"} < set(panel["fixed_points"][0])
    assert panel["fixed_points"][0]["tau"] == 2.0  # tau = beta/(beta - eta)


def test_the_plane_of_a_cosine_has_a_panel_for_each_number_of_modes(folder, capsys):
    argv = ("--plane", "cosine", "--modes", "2", "5", "--alpha-p", "2")
    few, more = report(capsys, *argv)["panels"]
    assert (few["modes"], more["modes"]) == (2, 5)
    (goal,) = more["fixed_points"]
    assert (goal["p"], goal["s"], goal["class"]) == (1.0, 0.5, "line of fixed points")
    assert 0 < more["collapsing_share"] < 0.5 and "critical_decay" not in more
    curves = json.loads((folder / "lindyn-out/phase.json").read_text())["panels"][0]["curves"]
    p, s = np.array(curves["basin"]).T
    assert np.allclose(s, np.where(p < 0, p**2, np.clip(p**2 - 1, 0, None)) / 2, atol=1e-5)
    run(*argv)
    assert "5 modes: those that live end at one p, here 1" in capsys.readouterr().out


def test_markers_differ_by_shape_for_every_class():
    """Colour-blind readers, and readers of a greyscale print, can tell the classes apart."""
    looks = {(m["marker"], m.get("markerfacecolor")) for m in plot.MARKS.values()}
    assert len(looks) == len(plot.MARKS)
    assert set(plot.MARKS) | {"none"} == set(stability.KINDS)


def test_a_figure_has_the_width_of_a_page():
    panels = [portrait.line(Params(eta=0.1), (-0.5, 1.5))] * 4
    fig = plot.figure(panels, ["a"] * 4, "note")
    assert fig.get_figwidth() == 7.2 and len(fig.axes) == 4
    corners = [ax.get_position() for ax in fig.axes]
    assert corners[0].y0 > corners[3].y0 and corners[0].x0 == corners[3].x0


def test_no_text_is_cut_off(folder):
    params = Params(eta=0.1)
    drawn = portrait.portrait("p-s", params, portrait.window("p-s", params))
    fig = plot.figure([drawn], [r"$\eta = 0.1$"], "note")
    fig.draw_without_rendering()
    width, height = fig.get_size_inches() * fig.dpi
    ax, legend = fig.axes[0], fig.legends[0]
    label = ax.xaxis.label.get_window_extent()
    box = legend.get_window_extent()
    assert box.y1 < label.y0 and box.x0 > 0 and box.x1 < width
    assert ax.title.get_window_extent().y1 < height
    assert ax.yaxis.label.get_window_extent().x0 > 0


def test_titles_and_notes_name_the_parameters():
    assert summary.title(Params(eta=0.25)) == r"$\eta = 0.25$"
    assert re.fullmatch(
        r".*eta_p = 0.1.*eta_s = 0.05.*", summary.title(Params(eta_p=0.1, eta_s=0.05))
    )
    assert "ours" in summary.note(phase.PRESETS["fig3"])
