"""How long `import tokenspace` and `tokenspace --help` take, as whole processes; Python's own start is shown apart."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

import _report


def median_ms(command: list[str], runs: int) -> float:
    """Median wall time of a command in milliseconds, after one run that warms the file cache."""
    times: list[float] = []
    for _ in range(runs + 1):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times[1:])


def main() -> None:
    args = _report.options(__doc__).parse_args()
    runs = 5 if args.quick else 25
    bare = median_ms([sys.executable, "-c", "pass"], runs)
    figures = {
        "import_ms": median_ms([sys.executable, "-c", "import tokenspace"], runs) - bare,
        "help_ms": median_ms([sys.executable, "-m", "tokenspace", "--help"], runs),
        "python_ms": bare,
    }
    _report.table("start", figures.items(), header=("figure", "median ms"))
    _report.write("startup", figures, args)


if __name__ == "__main__":
    main()
