"""Draws arrays that other packages have computed, with functions like `draw_map(ax, chart)`.

Read `style` first, then `portraits` and `maps`. `runs` draws the figure of `compare`.

May import: nothing else of lindyn.
"""

from lindyn.plot.maps import (
    AXES as AXES,
    FADED as FADED,
    FATES as FATES,
    LEFT as LEFT,
    SHARE as SHARE,
    SIGNED as SIGNED,
    draw_lines as draw_lines,
    draw_map as draw_map,
    map_figure as map_figure,
)
from lindyn.plot.portraits import (
    LABELS as LABELS,
    LAYERS as LAYERS,
    draw_line as draw_line,
    draw_portrait as draw_portrait,
    figure as figure,
)
from lindyn.plot.style import (
    BLUE as BLUE,
    COLLAPSED as COLLAPSED,
    DIVERGED as DIVERGED,
    GREEN as GREEN,
    GREY as GREY,
    INK as INK,
    MARKS as MARKS,
    ORANGE as ORANGE,
    PALE as PALE,
    PURPLE as PURPLE,
    RED as RED,
    STYLE as STYLE,
    SURVIVING as SURVIVING,
    can_show as can_show,
    save as save,
    show as show,
)
