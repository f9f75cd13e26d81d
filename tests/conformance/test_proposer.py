"""Every rule of proposers on all of them, and broken ones that the suite must find out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.unit.proposers import test_contrast, test_reflect, test_rewrite
from tests.unit.proposers.answers import asker, hostile, spoiled
from tests.unit.proposers.cluster import cluster, rejected

from tokenspace.domain import Edit, Entry, Kind, Put, new_id
from tokenspace.errors import InvalidEdit
from tokenspace.proposers import Adopt, Contrast, Reflect, Remember, Retire, Rewrite
from tokenspace.recall import HashEmbedder, HybridRecall
from tokenspace.testing import check_proposer


def retire():
    return Retire(HybridRecall(HashEmbedder()), neighbours=7, outvoted=2.0)


@pytest.mark.parametrize(("make", "least"), [(Remember, 3), (Adopt, 1), (retire, 0)])
def test_the_proposer_keeps_the_rules(make, least):
    assert check_proposer(make) >= least


ASKING = [(Reflect, test_reflect.GOOD, 8), (Rewrite, test_rewrite.GOOD, 2), (Contrast, test_contrast.GOOD, 2)]


@pytest.mark.parametrize(("kind", "good", "least"), ASKING)
def test_a_proposer_that_asks_a_model_keeps_the_rules_whatever_it_answers(kind, good, least):
    shown = [cluster(), cluster(rejected=[rejected("Tried before.")])]
    assert check_proposer(lambda: kind(asker(good)), evidence=shown) >= least
    for name in ("prose before", "good, truncated", "writes its origin", "injection 0", "unknown handle"):
        text = {**spoiled(good), **hostile(good)}[name]
        check_proposer(lambda text=text: kind(asker(text)), evidence=shown)


class Broken(Remember):
    def __init__(self, change):
        self.change = change

    async def propose(self, evidence, *, budget):
        edit = await super().propose(evidence, budget=budget)
        return edit and self.change(edit)


def invents(edit):
    entry = Entry(kind=Kind.RULE, doc="rules", text=new_id())
    return replace(edit, ops=(Put(entry=entry),))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda edit: Edit(ops=edit.ops), "cites nothing"),
        (lambda edit: replace(edit, evidence=(*edit.evidence, new_id())), "was not shown"),
        (lambda edit: replace(edit, read=("a rumour",)), "was not shown: a rumour"),
        (lambda edit: replace(edit, ops=()), "without operations"),
        (invents, "two things from the same"),
    ],
)
def test_the_suite_finds_what_is_broken(change, words):
    with pytest.raises(AssertionError, match=words):
        check_proposer(lambda: Broken(change))


def test_a_proposal_that_cannot_be_used_is_data_and_one_that_is_invalid_is_found():
    def gives_up(edit):
        raise InvalidEdit("no", hint="none")

    assert check_proposer(lambda: Broken(gives_up)) == 0
    twice = lambda edit: replace(edit, ops=(*edit.ops, *edit.ops))  # noqa: E731
    with pytest.raises(InvalidEdit, match="several operations"):
        check_proposer(lambda: Broken(twice))
