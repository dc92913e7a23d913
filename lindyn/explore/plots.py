"""The Bokeh figures of the page, without data: page/draw.js fills their sources and ranges.

A data source is named FIGURE-LAYER. The `tags` of a model name the role of each of its colours;
page/draw.js looks the roles up in the style sheet. So the same figures serve the light and the
dark theme.
"""

import json
import re

from bokeh.core.json_encoder import serialize_json
from bokeh.document import Document
from bokeh.models import (
    BasicTicker,
    ColumnDataSource,
    GlyphRenderer,
    Line,
    Range1d,
    Scatter,
    VArea,
)
from bokeh.plotting import figure

from lindyn import plot


LIGHT = {
    "ink": plot.INK,
    "grey": plot.GREY,
    "pale": plot.PALE,
    "blue": plot.BLUE,
    "orange": plot.ORANGE,
    "green": plot.GREEN,
    "red": plot.RED,
    "purple": plot.PURPLE,
    "collapsed": plot.COLLAPSED,
    "paper": "#ffffff",
}
DARK = {
    "ink": "#ececec",
    "grey": "#9a9a9a",
    "pale": "#565a60",
    "blue": "#56b4e9",
    "orange": plot.ORANGE,
    "green": "#22b98f",
    "red": "#ec7a2c",
    "purple": "#d98fb7",
    "collapsed": "#453322",
    "paper": "#16181b",
}
MARKERS = {"o": "circle", "h": "hex", "X": "plus", "P": "plus", "s": "square", "D": "diamond"}


def document() -> dict:
    """All figures as one Bokeh document. Identifiers are renumbered, so that the document is
    the same in every process."""
    shared = Document()
    for fig in (_plane(), _line(), _course(), _margin()):
        shared.add_root(fig)
    content = serialize_json(shared.to_json())
    order: dict[str, int] = {}
    renumber = lambda found: f'"p{order.setdefault(found[0], len(order))}"'
    return json.loads(re.sub(r'"p\d+"', renumber, content))


def marks() -> dict[str, dict]:
    """The marker of each class of fixed point in `lindyn.plot`, translated into Bokeh's names
    of markers and the page's roles of colours."""
    roles = {color: role for role, color in LIGHT.items()}
    return {
        kind: {
            "marker": MARKERS[style["marker"]],
            "angle": 0.7853981633974483 if style["marker"] == "X" else 0,
            "color": roles[style["color"]],
            "hollow": style.get("markerfacecolor") == "w",
        }
        for kind, style in plot.MARKS.items()
    }


def _plane():
    fig = _figure("plane", "p, eigenvalue of the predictor", "s, eigenvalue of the features")
    _area(fig, "basin")
    _curve(fig, "arrows", "pale", 1.2)
    _curve(fig, "parabola", "ink", 1.3, [5, 3])
    _curve(fig, "p", "blue", 1.6, [11, 4])
    _curve(fig, "s", "green", 1.6, [9, 3, 2, 3])
    _curve(fig, "separatrix", "red", 2.6)
    _curve(fig, "m", "purple", 1.8, [2, 2])
    _curve(fig, "stable", "blue", 5)
    _curve(fig, "unstable", "red", 5, [2, 3])
    _points(fig, "fixed")
    _curve(fig, "backward", "ink", 1.2, [2, 3])
    _curve(fig, "forward", "ink", 2)
    _curve(fig, "trails", "orange", 1.5)
    for layer in ("starts", "dots", "modes", "cross"):
        _points(fig, layer)
    return fig


def _line():
    fig = _figure("line", "p", "dp/dt")
    _area(fig, "basin")
    _curve(fig, "zero", "grey", 1)
    _curve(fig, "rate", "ink", 1.8)
    _points(fig, "fixed")
    return fig


def _course():
    fig = _figure("course", None, "p, s, τ")
    fig.xaxis.visible = False  # the figure below has the same time axis
    _curve(fig, "p", "blue", 1.8)
    _curve(fig, "s", "green", 1.8, [7, 3])
    _curve(fig, "tau", "orange", 1.8, [2, 2])
    _curve(fig, "now", "grey", 1.2, level="overlay")
    return fig


def _margin():
    fig = _figure("margin", "time, in 1 / learning rate of the encoder", "eigenvalue of K")
    _curve(fig, "zero", "grey", 1)
    _curve(fig, "margin", "purple", 1.8)
    _curve(fig, "now", "grey", 1.2, level="overlay")
    return fig


def _figure(name, x, y):
    fig = figure(
        name=name,
        x_range=Range1d(start=0, end=1),
        y_range=Range1d(start=0, end=1),
        title=None,
        x_axis_label=x,
        y_axis_label=y,
        tools="",
        toolbar_location=None,
        sizing_mode="stretch_both",
        min_width=100,
        min_height=60,
        output_backend="canvas",
        lod_threshold=None,
        min_border_top=8,
        min_border_bottom=2,
        min_border_left=60,
        min_border_right=14,
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=LIGHT["pale"],
        tags=[{"outline_line_color": "pale"}],
    )
    fig.center = []  # no grid
    for axis in fig.axis:
        axis.update(
            axis_label_text_font_style="normal",
            axis_label_text_font="system-ui, sans-serif",
            axis_label_text_font_size="12px",
            axis_label_standoff=3,
            major_label_text_font="system-ui, sans-serif",
            major_label_text_font_size="11px",
            major_tick_out=3,
            major_tick_in=0,
            minor_tick_out=0,
            axis_line_color=None,
            ticker=BasicTicker(desired_num_ticks=5, num_minor_ticks=0),
            tags=[
                {
                    "axis_label_text_color": "ink",
                    "major_label_text_color": "ink",
                    "major_tick_line_color": "grey",
                }
            ],
        )
    return fig


def _add(fig, layer, columns, glyph, level):
    source = ColumnDataSource({column: [] for column in columns}, name=f"{fig.name}-{layer}")
    renderer = GlyphRenderer(
        data_source=source,
        glyph=glyph,
        nonselection_glyph=None,
        muted_glyph=None,
        level=level,
        name=f"{fig.name}-{layer}",
    )
    fig.renderers.append(renderer)


def _curve(fig, layer, role, width, dash=(), *, level="glyph"):
    """Several curves in one glyph, separated by NaN: the browser then draws a single stroke."""
    glyph = Line(
        x="x",
        y="y",
        line_color=LIGHT[role],
        line_width=width,
        line_dash=list(dash),
        line_join="round",
        tags=[{"line_color": role}],
    )
    _add(fig, layer, ("x", "y"), glyph, level)


def _area(fig, layer):
    role = {"fill_color": "collapsed"}
    glyph = VArea(x="x", y1="low", y2="high", fill_color=LIGHT["collapsed"], tags=[role])
    _add(fig, layer, ("x", "low", "high"), glyph, "underlay")


def _points(fig, layer):
    """Points on the overlay level: the frame does not clip them, and Bokeh repaints them
    without repainting the curves."""
    columns = ("x", "y", "size", "marker", "angle", "line", "fill", "width")
    glyph = Scatter(
        x="x",
        y="y",
        size="size",
        marker="marker",
        angle="angle",
        line_color="line",
        fill_color="fill",
        line_width="width",
    )
    _add(fig, layer, columns, glyph, "overlay")
