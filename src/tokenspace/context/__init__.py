"""Pure functions on contexts: edits applied and taken back, prompts compiled, Markdown in and out, cases made."""

from __future__ import annotations

from tokenspace.context.cases import case_from, cluster_of
from tokenspace.context.check import is_safe_doc, validate
from tokenspace.context.compile import compile_context, core_blocks, recallable, splice, worth_recalling
from tokenspace.context.diff import diff_text
from tokenspace.context.markdown import from_single_text, single_text, to_markdown
from tokenspace.context.neighbours import Contradiction, Voting, contradiction, sayers, sayers_in, taught, voters
from tokenspace.context.ops import (
    apply,
    apply_layer,
    difference,
    edit_key,
    inherited,
    invert,
    merge,
    new_texts,
    revert_ops,
    stamp,
    without,
)
from tokenspace.context.reading import from_markdown
from tokenspace.context.standing import discredited
from tokenspace.context.tally import Tally, tally

__all__ = [
    "Contradiction",
    "Tally",
    "Voting",
    "apply",
    "apply_layer",
    "case_from",
    "cluster_of",
    "compile_context",
    "contradiction",
    "core_blocks",
    "diff_text",
    "difference",
    "discredited",
    "edit_key",
    "from_markdown",
    "from_single_text",
    "inherited",
    "invert",
    "is_safe_doc",
    "merge",
    "new_texts",
    "recallable",
    "revert_ops",
    "sayers",
    "sayers_in",
    "single_text",
    "splice",
    "stamp",
    "tally",
    "taught",
    "to_markdown",
    "validate",
    "voters",
    "without",
    "worth_recalling",
]
