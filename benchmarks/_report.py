"""What every benchmark shares: its options, a plain table, and a JSON file of its figures."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def options(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--quick` and `--out`."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller, within a minute")
    parser.add_argument("--out", type=Path, help="where to write the figures (default: benchmarks/results/NAME.json)")
    return parser


def table(title: str, rows: Iterable[Sequence[object]], *, header: Sequence[str] = ()) -> None:
    """Print rows as columns: words to the left, numbers to the right."""
    cells = [[_cell(value) for value in row] for row in ([header] if header else []) + list(rows)]
    if not cells:
        return
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    print(f"\n{title}")
    for number, row in enumerate(cells):
        words = row[0].ljust(widths[0])
        print(
            "  ".join([words, *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]).rstrip()
        )
        if header and number == 0:
            print("  ".join("─" * width for width in widths))


def write(name: str, figures: Mapping[str, float], args: argparse.Namespace) -> Path:
    """Write the figures; returns the file."""
    path = args.out or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    at = datetime.now(UTC).isoformat(timespec="seconds")
    body = {"name": name, "at": at, "quick": bool(args.quick), "figures": dict(figures)}
    path.write_text(json.dumps(body, indent=2) + "\n")
    print(f"\nwritten to {path}")
    return path


def _cell(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.3g}"
