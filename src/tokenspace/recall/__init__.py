"""Which entries matter for a request: words and vectors of the entries that it is given, fused into one score.

A scope's entries are few, so they are read and ranked exactly, with the same code on every database. Start with
`HybridRecall`; `default_embedder` says which embedder it gets when nobody chose one.
"""

from __future__ import annotations

from tokenspace.recall.embedders import HashEmbedder, WordLlamaEmbedder, default_embedder
from tokenspace.recall.endpoint import EndpointEmbedder
from tokenspace.recall.hybrid import HybridRecall, searched_text

__all__ = ["EndpointEmbedder", "HashEmbedder", "HybridRecall", "WordLlamaEmbedder", "default_embedder", "searched_text"]
