"""Context → Markdown that a person reads and edits; `reading` takes it back. See `markup` for the form."""

from __future__ import annotations

from collections.abc import Mapping

from tokenspace.context.markup import SUFFIX, Names, comment, default_kind, encode, is_long, title
from tokenspace.domain import Blame, Context, Entry, Kind, Status
from tokenspace.errors import BadData

_FILE = "# file:"
_HELP = (
    "<!-- Each entry begins with '- ' or '## …'. Keep its comment when you change or move it; delete all of it to\n"
    "drop it; an entry without a comment is new (end the heading of a new block with a comment that says: new). -->"
)


def to_markdown(context: Context, *, blame: Mapping[str, Blame] | None = None) -> dict[str, str]:
    """One document for each place that holds entries, by file name ("rules.md", "skills/refunds.md"), sorted.

    Every visible entry is written, inactive ones too. With `blame`, a second comment names the revision that last
    wrote an entry, its author and on what ground it was accepted.
    """
    names = Names(context)
    docs: dict[str, list[Entry]] = {}
    for entry in context.entries:
        docs.setdefault(entry.doc, []).append(entry)
    return {f"{doc}{SUFFIX}": _document(doc, entries, names, blame or {}) for doc, entries in sorted(docs.items())}


def single_text(context: Context, *, blame: Mapping[str, Blame] | None = None) -> str:
    """All documents in one text for an editor, each under a line `# file: rules.md`."""
    parts = [
        f"{_FILE} {name}\n\n{text.split(chr(10), 2)[2]}" for name, text in to_markdown(context, blame=blame).items()
    ]
    return "\n".join((_HELP + "\n", *parts))


def from_single_text(text: str) -> dict[str, str]:
    """The documents of a single text. Each is padded with empty lines, so that line numbers are those of the text."""
    docs: dict[str, list[str]] = {}
    name, in_comment = "", False
    for number, line in enumerate(text.replace("\r\n", "\n").split("\n"), start=1):
        if line.startswith(_FILE):
            name = line.removeprefix(_FILE).strip()
            if name in docs:
                raise BadData(f"line {number}: a second {name}", hint="join the two documents under one file line")
            docs[name] = [""] * number
        elif name:
            docs[name].append(line)
        else:
            in_comment = _is_preamble(line, number, inside=in_comment)
    return {name: "\n".join(lines) for name, lines in docs.items()}


def _is_preamble(line: str, number: int, *, inside: bool) -> bool:
    """Whether a comment goes on after this line; only comments may stand before the first document."""
    if line.strip() and not inside and not line.startswith("<!--"):
        raise BadData(f"line {number}: text before the first document", hint=f"begin with a line '{_FILE} rules.md'")
    return (inside or line.startswith("<!--")) and not line.rstrip().endswith("-->")


def _document(doc: str, entries: list[Entry], names: Names, blame: Mapping[str, Blame]) -> str:
    blocks = any(is_long(entry.kind) for entry in entries)
    lines = [f"# {doc}", ""]
    for entry in entries:
        comments = _comments(entry, names, blame.get(entry.id), in_block=blocks)
        lines += _block(entry, comments) if blocks else _item(entry, comments)
    return "\n".join(lines).rstrip("\n") + "\n"


def _comments(entry: Entry, names: Names, blame: Blame | None, *, in_block: bool) -> str:
    words = [f"#{names.of(entry.id)}"]
    answered = entry.kind == Kind.EXAMPLE and entry.trigger is not None
    if not in_block and not answered and entry.kind != default_kind(entry.doc):
        words.append(entry.kind.value)
    if entry.status != Status.ACTIVE:
        words.append(entry.status.value)
    if entry.key:
        words += ["key", entry.key]
    if entry.valid_from is not None:
        words += ["from", entry.valid_from.isoformat()]
    if entry.valid_until is not None:
        words += ["until", entry.valid_until.isoformat()]
    why = comment(["by", *blame.author.split(), "in", blame.revision, blame.decision_basis]) if blame else ""
    return f"{comment(words)} {why}".rstrip()


def _parts(entry: Entry) -> list[str]:
    """The entry's text, after what it is for; each part begins on a line of its own."""
    if entry.trigger is None:
        return [encode(entry.text)]
    then = "**Answer**" if entry.kind == Kind.EXAMPLE else "**Then**"
    return [f"**When** {encode(entry.trigger)}".rstrip(), f"{then} {encode(entry.text)}".rstrip()]


def _item(entry: Entry, comments: str) -> list[str]:
    first, *more = "\n".join(_parts(entry)).split("\n")
    return [" ".join(part for part in ("-", first, comments) if part), *(f"  {line}".rstrip() for line in more)]


def _block(entry: Entry, comments: str) -> list[str]:
    return [f"## {title(entry.kind)} {comments}", "", "\n\n".join(_parts(entry)), ""]
