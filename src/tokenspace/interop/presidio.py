"""Microsoft Presidio as a second scanner: names, places and organisations, which have no form to be found by.

An extra: `pip install 'tokenspace[privacy]'`, and a language model for its analyser as its documentation says. It runs
here and asks no service.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Mapping
from typing import Any, Final

from tokenspace.context.scanner import Finding, Sort
from tokenspace.errors import UsageError

KINDS: Final[Mapping[str, str]] = {
    "EMAIL_ADDRESS": "email",
    "PHONE_NUMBER": "phone",
    "IBAN_CODE": "iban",
    "CREDIT_CARD": "card",
    "CRYPTO": "wallet",
    "IP_ADDRESS": "ip",
    "MAC_ADDRESS": "mac",
    "US_SSN": "us_ssn",
    "US_ITIN": "us_itin",
    "US_PASSPORT": "passport",
    "US_DRIVER_LICENSE": "driver_licence",
    "US_BANK_NUMBER": "account",
    "UK_NHS": "uk_nhs",
    "UK_NINO": "uk_nino",
    "ES_NIF": "es_dni",
    "ES_NIE": "es_nie",
    "IT_FISCAL_CODE": "it_fiscal_code",
    "PL_PESEL": "pl_pesel",
    "SG_NRIC_FIN": "sg_nric",
    "AU_TFN": "au_tfn",
    "AU_MEDICARE": "au_medicare",
    "IN_PAN": "in_pan",
    "IN_AADHAAR": "in_aadhaar",
    "FI_PERSONAL_IDENTITY_CODE": "fi_hetu",
}
"""Its types by our kinds; all others keep their names in lower case: person, location, …"""
_TYPES: Final = {kind: type for type, kind in KINDS.items()}


class PresidioScanner:
    """`scan` as `tokenspace.context.scanner.scan`, done by Presidio.

    Give an `engine` (an `AnalyzerEngine` or what behaves as one) to choose its models and recognisers. Findings under
    `least` (0 to 1) are left out. Raises `UsageError` where Presidio is not installed.
    """

    def __init__(self, engine: Any = None, *, language: str = "en", least: float = 0.5) -> None:
        self._engine, self._language, self._least = engine or _engine(), language, least

    def scan(self, text: str, *, kinds: Collection[str] | None = None) -> list[Finding]:
        """What Presidio finds, in the order of the text; findings may overlap, as its recognisers do not agree."""
        types = None if kinds is None else [_TYPES.get(kind, kind.upper()) for kind in kinds]
        if types == []:
            return []
        results: list[Any] = self._engine.analyze(
            text=text, language=self._language, entities=types, score_threshold=self._least
        )
        sort: Sort = "personal"
        found = [
            Finding(
                kind=_kind(str(one.entity_type)), start=one.start, end=one.end,
                score=float(one.score), sort=sort,
            )
            for one in results
        ]  # fmt: skip
        return sorted(found, key=lambda one: (one.start, one.end, one.kind))


def _kind(type: str) -> str:
    return KINDS.get(type, type.lower())


def _engine() -> Any:
    try:
        module: Any = importlib.import_module("presidio_analyzer")
    except ImportError as error:
        hint = "pip install 'tokenspace[privacy]', and a spaCy model for its analyser"
        raise UsageError("Presidio is not installed", hint=hint) from error
    return module.AnalyzerEngine()
