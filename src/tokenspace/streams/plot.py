"""The learning curve as a picture: right answers while the stream comes in, and the exam after it.

Reads in greyscale: lines differ by their dashes and bars by their hatching. The same run gives the same bytes, with
the same version of matplotlib.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from tokenspace.streams.desk import Result

WINDOW: Final = 24
FIRST: Final = 7
"""A mean over fewer messages than this says nothing, so the lines begin later."""
NAME: Final = "learning-curve"
_DARK, _MIDDLE, _LIGHT = "#1b3a57", "#7a7a7a", "#c4c4c4"
STABLE: Final[dict[str, Any]] = {"svg.hashsalt": "tokenspace", "svg.fonttype": "path", "font.family": "DejaVu Sans"}
"""Settings with which the same picture is the same bytes."""


def available() -> bool:
    """Whether matplotlib is installed (the extra `[plot]`)."""
    return importlib.util.find_spec("matplotlib") is not None


def rolling(right: Sequence[bool], window: int = WINDOW) -> list[float]:
    """The share of right answers among the last `window` ones, at each place (of fewer ones at the beginning)."""
    return [sum(right[max(0, at + 1 - window) : at + 1]) / min(at + 1, window) for at in range(len(right))]


def write_plot(result: Result, folder: Path) -> list[Path]:
    """`learning-curve.png` and `learning-curve.svg`. Needs `available()`."""
    # No pyplot: it looks for a display, keeps every figure alive and takes half a second to import.
    from matplotlib.figure import Figure

    mpl: Any = importlib.import_module("matplotlib")

    png, svg = folder / f"{NAME}.png", folder / f"{NAME}.svg"
    with mpl.rc_context(STABLE):
        figure: Any = Figure(figsize=(9.6, 4.2), layout="constrained")
        curve, exam = figure.subplots(1, 2, width_ratios=(2.4, 1))
        _draw_curve(curve, result)
        _draw_exam(exam, result)
        figure.suptitle("A frozen model, a context that learns: routing messages to teams", fontsize=12)
        figure.savefig(png, dpi=150, metadata={"Software": None})
        figure.savefig(svg, metadata={"Date": None})
    return [png, svg]


def _draw_curve(axes: Any, result: Result) -> None:
    places = [one.place + 1 for one in result.curve]
    for right, words, style in (
        ([one.learned for one in result.curve], "learning context", {"color": _DARK, "linewidth": 2.2}),
        (
            [one.frozen for one in result.curve],
            "frozen context",
            {"color": _MIDDLE, "linewidth": 1.6, "dashes": (4, 2)},
        ),
    ):
        shares = [100 * share for share in rolling(right)]
        axes.plot(places[FIRST:], shares[FIRST:], label=words, **style)
    chance = 100 / len(result.draw.labels)
    axes.axhline(chance, color=_LIGHT, linewidth=1, zorder=0)
    axes.annotate("guessing", (1.5, chance), va="bottom", fontsize=8, color=_MIDDLE)
    axes.set(
        title=f"While {len(places)} messages came in", xlabel="messages answered and corrected",
        ylabel=f"right answers, last {WINDOW} messages (%)", xlim=(1, max(2, len(places))), ylim=(0, 100),
    )  # fmt: skip
    axes.legend(loc="upper left", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_exam(axes: Any, result: Result) -> None:
    arms = (("frozen", "frozen", _LIGHT, ""), ("appended", "everything\nappended", "white", "//"),
            ("learned", "tokenspace", _DARK, ""))  # fmt: skip
    for place, (arm, words, colour, hatch) in enumerate(arms):
        share = 100 * result.exam[arm]  # pyright: ignore[reportArgumentType]  # the names of `Arm`, one by one
        axes.bar(place, share, width=0.62, color=colour, edgecolor=_DARK, hatch=hatch, label=words)
        axes.annotate(f"{share:.0f} %", (place, share), ha="center", va="bottom", fontsize=10)
    axes.set_xticks(range(len(arms)), [words for _, words, _, _ in arms], fontsize=9)
    axes.set(title=f"Unseen exam, {len(result.draw.exam)} messages", ylabel="right answers (%)", ylim=(0, 108))
    axes.spines[["top", "right"]].set_visible(False)
