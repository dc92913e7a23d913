"""A user's mistakes, told in one line each."""

import math


class UsageError(ValueError):
    """A user's mistake, in one line: what came, what is allowed, and why."""


def number(
    flag: str,
    value: float | int,
    least: float | int = -math.inf,
    most: float | int = math.inf,
    *,
    above: bool = False,
    why: str = "",
) -> None:
    """`UsageError` unless least <= value <= most (least < value if `above`), and finite."""
    low_enough = value > least if above else value >= least
    if math.isfinite(value) and low_enough and value <= most:
        return
    bounds = [f"{'above' if above else 'at least'} {least:g}"] * math.isfinite(least)
    bounds += [f"at most {most:g}"] * math.isfinite(most)
    allowed = " and ".join(["finite", *bounds])
    raise UsageError(f"{flag} {value:g}: must be {allowed}" + f" ({why})" * bool(why))


def interval(flag: str, ends: tuple[float | int, float | int]) -> None:
    """`UsageError` unless the two ends are of a drawable size, in order and apart."""
    for end in ends:
        number(flag, end, -1e6, 1e6)
    low, high = ends
    if not low < high:
        raise UsageError(f"{flag} {low:g} {high:g}: the lower end must come first")
    if high - low < max(1e-9, 1e-6 * max(abs(low), abs(high))):
        raise UsageError(f"{flag} {low:g} {high:g}: too narrow to draw")
