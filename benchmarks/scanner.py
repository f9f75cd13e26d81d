"""How much personal data and how many secrets the scanner finds, how often it cries wolf, and how fast it is.

    python benchmarks/scanner.py [--quick] [--out FILE]

* presidio_pii: recall by type over 2,109 generated texts with marked spans (found: the whole span, and named as that
  type), precision among findings of that type, false positives on the 202 texts without any span. The patterns were
  tuned with this data set at hand: what it says about other texts is less.
* own: 5,000 invented strings of 25 kinds in sentences, with check digits that `_personal.py` computes itself.
  `own_bare_…`: the same strings without a word near that says what they are (kinds that are all found are not listed);
  `number_false_positives`: the share of sentences with a random number of 5 to 16 digits in which anything is found.
* other texts without personal data (banking77, clinc150, documents of tau3): the share with any finding, and the
  share with a sign of injected instructions. Nothing was tuned on clinc150 and tau3.
* speed: megabytes per second of CPU time for `scan` and for `redacted`, the latter on texts not seen before, and
  microseconds of `redacted` for one text of 200 and of 1,000 characters.

Types that have no form (names, places, organisations) are not looked for and not counted here.

The data sets are not part of this repository: set TOKENSPACE_DATA to the folder that has them. What is missing is left
out.
"""

from __future__ import annotations

import csv
import json
import os
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import _report
from _personal import bare, numbers, sentences
from tokenspace.context.scanner import redacted, scan
from tokenspace.context.screening import screened

ROOT = Path(__file__).parent.parent
DATA = Path(os.environ.get("TOKENSPACE_DATA", ROOT.parent / "shared" / "data"))
TYPES = {
    "CREDIT_CARD": "card", "PHONE_NUMBER": "phone", "EMAIL_ADDRESS": "email", "US_SSN": "us_ssn", "IBAN_CODE": "iban",
    "IP_ADDRESS": "ip", "US_DRIVER_LICENSE": "driver_licence",
}  # fmt: skip
OWN = 5_000


def main() -> None:
    args = _report.options(__doc__).parse_args()
    found: dict[str, float] = {}
    for part in (presidio, own, benign, speed):
        try:
            found |= part(quick=args.quick)
        except FileNotFoundError as error:
            print(f"{part.__name__} is skipped: {error.filename} is not there; set TOKENSPACE_DATA to the data folder")
    _report.table("scanner", found.items(), header=("figure", "value"))
    _report.write("scanner", found, args)


def presidio(*, quick: bool) -> dict[str, float]:
    """Recall and precision by type, and false positives on texts without spans."""
    rows = json.loads((DATA / "presidio_pii" / "generated_large.json").read_text(encoding="utf-8"))
    spans, hits, right, all_found = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for row in rows[:: 4 if quick else 1]:
        found = scan(row["full_text"])
        marked = [(TYPES.get(s["entity_type"], ""), s["start_position"], s["end_position"]) for s in row["spans"]]
        for kind, start, end in marked:
            spans[kind] += 1
            hits[kind] += any(one.kind == kind and one.start <= start and end <= one.end for one in found)
        for one in found:
            all_found[one.kind] += 1
            right[one.kind] += any(one.kind == k and s < one.end and one.start < e for k, s, e in marked)
    clean = [row["full_text"] for row in rows if not row["spans"]]
    figures: dict[str, float] = {}
    for kind in TYPES.values():
        figures[f"presidio_{kind}_spans"] = spans[kind]
        figures[f"presidio_{kind}_recall"] = hits[kind] / max(1, spans[kind])
        figures[f"presidio_{kind}_precision"] = right[kind] / max(1, all_found[kind])
    return figures | {
        "presidio_clean_texts": len(clean),
        "presidio_clean_distinct": len(set(clean)),
        "presidio_false_positives": _share(clean, scan),
    }


def own(*, quick: bool) -> dict[str, float]:
    """Recall over invented strings, in all and by kind; found is the whole string under its kind."""
    count = OWN // 5 if quick else OWN
    recalls = _recall(sentences(count))
    alone = _recall(bare(count))
    figures: dict[str, float] = {f"own_{kind}_recall": share for kind, share in recalls.items()}
    figures |= {f"own_bare_{kind}_recall": share for kind, share in alone.items() if share < 1}
    return {
        "own_strings": count,
        "own_recall": statistics.fmean(recalls.values()),
        "own_bare_recall": statistics.fmean(alone.values()),
        "number_texts": count,
        "number_false_positives": _share(list(numbers(count)), scan),
    } | figures


def _recall(rows: Iterable[tuple[str, str, str]]) -> dict[str, float]:
    """By kind, of which there are equally many."""
    made, hits = Counter[str](), Counter[str]()
    for kind, text, value in rows:
        start = text.index(value)
        made[kind] += 1
        hits[kind] += any(
            one.kind == kind and one.start <= start and start + len(value) <= one.end for one in scan(text)
        )
    return {kind: hits[kind] / count for kind, count in made.items()}


def benign(*, quick: bool) -> dict[str, float]:
    """How many texts without personal data or instructions have a finding or a sign."""
    figures: dict[str, float] = {}
    for name, read in (("banking77", _banking), ("clinc150", _clinc), ("tau3", _tau)):
        texts = read()[:: 10 if quick else 1]
        figures |= {
            f"{name}_texts": len(texts),
            f"{name}_false_positives": _share(texts, scan),
            f"{name}_signs": _share(texts, screened),
        }
    return figures


def speed(*, quick: bool) -> dict[str, float]:
    """Bytes per CPU time, best of three."""
    rows = json.loads((DATA / "presidio_pii" / "generated_large.json").read_text(encoding="utf-8"))
    kinds = {"scan_dense_mb_s": [row["full_text"] for row in rows[::4]], "scan_chat_mb_s": _banking()[::10]}
    figures = {name: _mb_s(texts, scan) for name, texts in kinds.items()}
    words = " ".join(_banking())
    for chars in (200, 1_000):
        # Each text once: long ones are known again.
        texts = [words[at : at + chars] for at in range(0, chars * (500 if quick else 600), chars)]
        begun = time.process_time()
        for text in texts:
            redacted(text)
        taken_s = time.process_time() - begun
        figures |= {
            f"redacted_{chars}_us": taken_s / len(texts) * 1e6,
            f"redacted_{chars}_mb_s": len(texts) * chars / taken_s / 1e6,
        }
    return figures


def _share(texts: Sequence[str], look: Callable[[str], Sequence[object]]) -> float:
    return sum(bool(look(text)) for text in texts) / len(texts)


def _mb_s(texts: Iterable[str], look: Callable[[str], object]) -> float:
    texts = list(texts)
    best_s = float("inf")
    for _ in range(3):
        begun = time.process_time()
        for text in texts:
            look(text)
        best_s = min(best_s, time.process_time() - begun)
    return sum(len(text.encode()) for text in texts) / best_s / 1e6


def _banking() -> list[str]:
    with (DATA / "banking77" / "train.csv").open(encoding="utf-8", newline="") as file:
        return [row["text"] for row in csv.DictReader(file)]


def _clinc() -> list[str]:
    rows = json.loads((DATA / "clinc150" / "train_val.json").read_text(encoding="utf-8"))
    return [text for part in rows.values() for text, _ in part]


def _tau() -> list[str]:
    lines = (DATA / "tau3_banking_knowledge" / "documents.jsonl").read_text(encoding="utf-8").splitlines()
    return ["\n".join(value for value in json.loads(line).values() if isinstance(value, str)) for line in lines]


if __name__ == "__main__":
    main()
