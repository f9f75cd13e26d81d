"""What is known about well-known models: context sizes, and list prices where they are known.

Prices are dollars per million tokens as published for these names in 2025; 0 means *unknown*, not free. Providers
change them: give your own `Profile` where money is limited. Tokens are bounded by one per byte, which holds for every
byte-level tokeniser, whatever the model.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from tokenspace.domain import Profile

CORE_TOKENS: Final = 8_000


def _known(context_tokens: int, input_usd: float = 0.0, output_usd: float = 0.0, cached_usd: float = 0.0) -> Profile:
    return Profile(
        model="",
        context_tokens=context_tokens,
        core_tokens=CORE_TOKENS,
        tokens_per_message=16,
        usd_per_million_input=input_usd,
        usd_per_million_output=output_usd,
        usd_per_million_cached=cached_usd,
    )


# Longest prefix wins. Context sizes leave the room that the family's longest answer needs.
KNOWN: Final[dict[str, Profile]] = {
    "gpt-4o": _known(110_000, 2.50, 10.00, 1.25),
    "gpt-4o-mini": _known(110_000, 0.15, 0.60, 0.075),
    "gpt-4.1": _known(1_000_000, 2.00, 8.00, 0.50),
    "gpt-4.1-mini": _known(1_000_000, 0.40, 1.60, 0.10),
    "gpt-4.1-nano": _known(1_000_000, 0.10, 0.40, 0.025),
    "gpt-5": _known(270_000),
    "o3": _known(100_000),
    "o4-mini": _known(100_000),
    "claude-": _known(136_000),
    "claude-3-5-haiku": _known(136_000, 0.80, 4.00, 0.08),
    "claude-sonnet-4": _known(136_000, 3.00, 15.00, 0.30),
}
UNKNOWN: Final = replace(_known(8_192), core_tokens=2_000)


def profile_of(model: str) -> Profile:
    """The profile of a model by its name, with or without a provider before it; a careful one if it is unknown."""
    name = model.rsplit("/", maxsplit=1)[-1]
    known = max((prefix for prefix in KNOWN if name.startswith(prefix)), key=len, default=None)
    return replace(KNOWN[known] if known else UNKNOWN, model=model)


def priced(profile: Profile) -> bool:
    """Whether a limit in dollars means anything for this profile."""
    return profile.usd_per_million_input > 0 or profile.usd_per_million_output > 0
