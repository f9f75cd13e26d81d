"""The report of a run: a table for people, figures as JSON, and a picture as PNG and SVG."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

from tokenspace.streams.config import StreamConfig
from tokenspace.streams.metrics import OURS, Figures
from tokenspace.streams.plot import STABLE, available

WORDS: Final = {
    "tokenspace": "tokenspace", "none": "no memory", "history": "full history, truncated",
    "nearest": "verified nearest examples", "append": "append everything",
}  # fmt: skip
_LOOKS: Final[dict[str, dict[str, Any]]] = {
    "tokenspace": {"color": "#1b3a57", "linewidth": 2.4},
    "nearest": {"color": "#4d4d4d", "linewidth": 1.5, "dashes": (5, 2)},
    "append": {"color": "#7a7a7a", "linewidth": 1.5, "dashes": (2, 2)},
    "history": {"color": "#9a9a9a", "linewidth": 1.5, "dashes": (6, 2, 1, 2)},
    "none": {"color": "#c4c4c4", "linewidth": 1.5, "dashes": (1, 2)},
}
_COLUMNS: Final = (
    ("accuracy", "accuracy", "{:.3f}"), ("last window", "curve", "{:.3f}"), ("final", "final_average", "{:.3f}"),
    ("forgetting", "forgetting", "{:+.3f}"), ("backward", "backward_transfer", "{:+.3f}"),
    ("forward", "forward_transfer", "{:+.3f}"), ("regret", "regret_hindsight", "{:.1f}"),
    ("tokens", "context_tokens", "{:.0f}"), ("calls", "calls", "{:.0f}"),
    ("calls/gain", "calls_per_improvement", "{:.1f}"), ("active", "activation", "{:.2f}"),
)  # fmt: skip


def text(config: StreamConfig, figures: Figures) -> str:
    """The table, and ours against each baseline with its interval."""
    arms: dict[str, Figures] = figures["arms"]
    shown = [column for column in _COLUMNS if any(column[1] in arm for arm in arms.values())]
    rows = [["", *(title for title, _, _ in shown)]]
    for name, arm in arms.items():
        rows.append([WORDS[name], *(_cell(arm.get(key), form) for _, key, form in shown)])
    runs = len(config.seeds) * config.orders
    lines = [f"{config.name}: {config.tasks} tasks of {Path(config.source).name}, {runs} run(s), model {config.model}"]
    lines += ["", *_aligned(rows), ""]
    for name, pair in figures.get("against", {}).items():
        interval = f"[{100 * pair['low']:+.1f}, {100 * pair['high']:+.1f}]"
        lines.append(f"tokenspace − {WORDS[name]}: {100 * pair['difference']:+.1f} points {interval}")
    return "\n".join(lines).rstrip()


def _cell(value: Any, form: str) -> str:
    numbers = cast("list[float]", value) if isinstance(value, list) else [value]
    return "–" if numbers[-1] is None else form.format(numbers[-1])


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        for row in rows
    ]


def write(config: StreamConfig, figures: Figures, folder: Path) -> list[Path]:
    """`report.json`, `report.txt` and, with the extra `[plot]`, `curves.png` and `curves.svg`."""
    files = [folder / "report.json", folder / "report.txt"]
    files[0].write_text(json.dumps(figures, indent=2) + "\n", "utf-8")
    files[1].write_text(text(config, figures) + "\n", "utf-8")
    return files + (draw(config, figures, folder) if available() else [])


def draw(config: StreamConfig, figures: Figures, folder: Path) -> list[Path]:
    """Accuracy and prompt size over the stream. The same figures give the same bytes."""
    from matplotlib.figure import Figure

    mpl: Any = importlib.import_module("matplotlib")
    png, svg = folder / "curves.png", folder / "curves.svg"
    with mpl.rc_context(STABLE):
        figure: Any = Figure(figsize=(9.6, 4.2), layout="constrained")
        right, tokens = figure.subplots(1, 2, width_ratios=(2, 1))
        for name in sorted(figures["arms"], key=lambda arm: arm == OURS):
            _line(right, config, [100 * one for one in figures["arms"][name]["curve"]], name)
            _line(tokens, config, figures["arms"][name]["tokens_curve"], name)
        if config.relabel:
            right.axvline(config.relabel_at, color="#c4c4c4", linewidth=1, zorder=0)
        right.set(xlabel="tasks answered", ylabel=f"right answers, by {config.window} tasks (%)", ylim=(0, 100))
        tokens.set(xlabel="tasks answered", ylabel="tokens of a prompt, at most", ylim=(0, None))
        right.legend(loc="lower right", frameon=False, fontsize=8)
        for axes in (right, tokens):
            axes.spines[["top", "right"]].set_visible(False)
        figure.suptitle(config.name, fontsize=12)
        figure.savefig(png, dpi=150, metadata={"Software": None})
        figure.savefig(svg, metadata={"Date": None})
    return [png, svg]


def _line(axes: Any, config: StreamConfig, values: Sequence[float], name: str) -> None:
    places = [min(config.tasks, (at + 1) * config.window) for at in range(len(values))]
    axes.plot(places, values, label=WORDS[name], **_LOOKS[name])
