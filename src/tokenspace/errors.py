"""Everything that tokenspace raises on purpose.

::

    TokenspaceError
    ├── UsageError              the caller asked for something that cannot be
    │   └── BadData             a file or message that cannot be read as what it should be
    ├── StoreError
    │   ├── NotFound            no such revision, entry, episode, … in this scope
    │   ├── StaleHead           somebody else committed first
    │   ├── Forgotten           somebody erased what it may rest on
    │   ├── CorruptLedger       the history does not re-derive
    │   ├── SchemaMismatch      the store was written by another version
    │   └── StoreUnavailable    locked, full, read-only or unreachable
    ├── EditError
    │   ├── EditConflict        the edit does not apply to this context
    │   └── InvalidEdit         the edit could never apply to any context
    ├── BudgetError
    │   ├── BudgetExceeded      a call would cost more than what is left
    │   └── BudgetTooSmall      the instructions alone do not fit the prompt
    └── ModelError              .retryable says whether the same call may succeed later
        ├── RateLimited
        ├── ModelTimeout
        ├── ModelUnavailable    nothing answers, or it answers with a server error
        ├── AuthFailed
        ├── Refused             the provider declined the content
        └── BadCompletion       an answer arrived that cannot be used

A wrong answer is a low score, a failed measurement is `None` and a refused edit is a verdict:
those are values and never exceptions.
"""

from __future__ import annotations


class TokenspaceError(Exception):
    """Root of the tree. `hint` says what to do next, in words for the person at the terminal."""

    hint: str

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class UsageError(TokenspaceError):
    """The caller asked for something that cannot be."""


class BadData(UsageError):
    """A file or message cannot be read as what it should be."""


class StoreError(TokenspaceError):
    """The store could not do what was asked."""


class NotFound(StoreError):
    """No such thing in this scope (or not in any scope: the two are not told apart)."""


class StaleHead(StoreError):
    """The head moved since it was read; read it again and rebase."""


class Forgotten(StoreError):
    """Something was erased since it was read, and what is to be written may rest on it; begin anew."""


class CorruptLedger(StoreError):
    """The recorded history does not re-derive to its commitments."""


class SchemaMismatch(StoreError):
    """The store was written by another version of tokenspace."""


class StoreUnavailable(StoreError):
    """The database is locked, full, read-only or cannot be reached."""


class EditError(TokenspaceError):
    """An edit that cannot be used."""


class EditConflict(EditError):
    """The edit does not apply to this context, though it may apply to another."""


class InvalidEdit(EditError):
    """The edit could not apply to any context."""


class BudgetError(TokenspaceError):
    """A limit of calls, tokens or money."""


class BudgetExceeded(BudgetError):
    """A reservation would pass the limit; nothing was spent.

    `spent` and `limit` are in `unit` ("calls", "tokens" or "usd").
    """

    def __init__(self, *, spent: float, asked: float, limit: float, unit: str) -> None:
        super().__init__(
            f"{asked:g} more {unit} would exceed the budget: {spent:g} of {limit:g} are spent or reserved",
            hint=f"raise the limit of {unit}, or run again: finished work is kept and not paid for twice",
        )
        self.spent = spent
        self.limit = limit
        self.unit = unit


class BudgetTooSmall(BudgetError):
    """The instructions and the request alone exceed the prompt's token budget."""


class ModelError(TokenspaceError):
    """A model could not be asked, or did not answer usably."""

    retryable: bool = False


class RateLimited(ModelError):
    """The provider asks us to slow down; `retry_after_s` if it said for how long."""

    retryable = True

    def __init__(self, message: str, *, hint: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class ModelTimeout(ModelError):
    """No answer within the time limit."""

    retryable = True


class ModelUnavailable(ModelError):
    """Nothing answers at the address, or it answers with a server error."""

    retryable = True


class AuthFailed(ModelError):
    """The key is missing, wrong or not allowed to use this model."""


class Refused(ModelError):
    """The provider declined to answer this content."""


class BadCompletion(ModelError):
    """An answer arrived that is empty, truncated or not what was asked for."""
