"""How recalled entries are shown is a choice of its own, measured per model and domain: an entry like any other.

A renderer is an entry of kind `renderer` whose text is one of `STYLES`; its trigger names the model that it was
measured on, or is None for every model. The lowest layer that has one for the model decides, else the model's profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, cast, get_args

from tokenspace.domain import Context, Entry, Kind, Profile, Status, Style

STYLES: Final[tuple[Style, ...]] = get_args(Style)
DOC: Final = "renderer"
HISTORY_MOST: Final = 64
"""So many of the newest entries a full history shows at most, where they fit."""


def renderer(context: Context, model: str) -> Entry | None:
    """The renderer that is in force for a model: of the lowest layer, and there the newest."""
    if not any(_says(one, model) for one in context.special):
        return None
    for layer in reversed(context.layers):
        known = [one for key, one in layer.own.items() if context.by_id.get(key) is one and _says(one, model)]
        if known:
            return max(known, key=lambda one: (one.trigger is not None, one.id))
    return None


def _says(entry: Entry, model: str) -> bool:
    fits = entry.kind is Kind.RENDERER and entry.status is Status.ACTIVE and entry.trigger in (None, model)
    return fits and entry.text in STYLES


def styled(profile: Profile, context: Context) -> Profile:
    """The profile with the style that the context's renderer says; a full history is not limited to a few."""
    found = renderer(context, profile.model)
    if found is None:
        return profile
    style = cast("Style", found.text)
    return replace(profile, style=style, recalled=HISTORY_MOST if style == "history" else profile.recalled)


def carried(profile: Profile, context: Context) -> Profile:
    """As `styled`, in the styles that somebody else's request can carry beside its last message.

    Rules at the end of the system prompt would change it with every request, and cost its cache; they go as text. A
    full history goes as the turns that were recalled.
    """
    found = styled(profile, context)
    plain: Mapping[Style, Style] = {"rules": "text", "history": "turns"}
    return replace(found, style=plain.get(found.style, found.style), recalled=profile.recalled)


def by_age(waiting: Mapping[str, Entry]) -> list[str]:
    """Ids of examples and triggered rules, newest first: ids of our making sort by time."""
    return sorted((key for key, one in waiting.items() if one.kind in (Kind.EXAMPLE, Kind.RULE)), reverse=True)
