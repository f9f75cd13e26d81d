"""Random lessons of several teachers: no name changes on the word of one of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from tokenspace.context.neighbours import Voting
from tokenspace.context.renamed import Told, renamings
from tokenspace.domain import Entry, Kind, Ranked

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
KINDS = ("tea", "car", "pen")
HONEST = ("ana", "bilal", "chen")
VOTING = Voting(neighbours=7, outvoted=2.0, teachers=frozenset((*HONEST, "rob")))
SAID = st.tuples(st.sampled_from(KINDS), st.sampled_from((*KINDS, "ink")))


def nearest(entry: Entry, known: Sequence[Entry]) -> list[Ranked]:
    """Those of the same kind first."""
    about = (entry.trigger or "").split()[0]
    scores = [(1.0 if (one.trigger or "").startswith(about) else 0.2, one.id) for one in known]
    return [Ranked(id=id, score=score) for score, id in sorted(scores, key=lambda one: (-one[0], one[1]))]


def told(said: Sequence[tuple[str, str, str]]) -> list[Told]:
    return [
        Told(
            entry=Entry(id=f"{at:04d}", kind=Kind.EXAMPLE, doc="", trigger=f"{about} {at}", text=text),
            by=by, at=BEGAN + timedelta(seconds=at), feedback=f"f{at}", episode=f"e{at}",
        )
        for at, (about, text, by) in enumerate(said)
    ]  # fmt: skip


USUAL = [(kind, kind, by) for _ in range(6) for kind in KINDS for by in HONEST]


@given(st.lists(st.tuples(SAID, st.sampled_from((*HONEST, "rob"))), max_size=40))
@settings(max_examples=200)
def test_two_principals_say_every_new_name(later: list[tuple[tuple[str, str], str]]) -> None:
    lessons = told([*USUAL, *((about, text, by) for (about, text), by in later)])
    for change in renamings(lessons, [], nearest, VOTING):
        assert len({one.by for one in change.told}) >= 2
        assert all(one.entry.text == change.new for one in change.told)


@given(st.lists(SAID, max_size=40), st.lists(st.sampled_from(KINDS), max_size=20))
@settings(max_examples=200)
def test_a_liar_changes_no_name_whatever_he_says(lies: list[tuple[str, str]], asked: list[str]) -> None:
    honest = [(kind, kind, HONEST[at % 3]) for at, kind in enumerate(asked)]
    both = [one for at in range(40) for one in (*((*lie, "rob") for lie in lies[at : at + 1]), *honest[at : at + 1])]
    found = renamings(told([*USUAL, *both]), [], nearest, VOTING)
    assert found == []
