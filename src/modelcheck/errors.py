"""The exception tree. Every error says where, what, and what to do, and knows its exit code."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar


class ModelcheckError(Exception):
    """Something the user can understand and act on.

    `where` names the file, step, tensor or key; `what` is the finding; `remedy` is what to do.
    """

    exit_code: ClassVar[int] = 70

    def __init__(self, what: str, *, where: str | None = None, remedy: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.remedy = remedy

    def __str__(self) -> str:
        text = f"{self.where}: {self.what}" if self.where else self.what
        return f"{text}\n  {self.remedy}" if self.remedy else text

    def at(self, where: str) -> ModelcheckError:
        """The same error, located further out: 'edge.toml' + 'step 2' -> 'edge.toml, step 2'."""
        self.where = f"{where}, {self.where}" if self.where else where
        return self


class UsageError(ModelcheckError):
    """The command line, a recipe or a policy asks for something that makes no sense."""

    exit_code = 2


class InvalidInput(ModelcheckError):
    """A model or data file is invalid or hostile."""

    exit_code = 3


class Unsupported(ModelcheckError):
    """A valid request that this build, target or OpenCV cannot serve."""

    exit_code = 4


class NotEnoughEvidence(ModelcheckError):
    """The data at hand cannot decide what was asked."""

    exit_code = 5


class ContainedFailure(ModelcheckError):
    """A child process died, hung or ran out of memory; nothing else was harmed."""

    exit_code = 6

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        remedy: str | None = None,
        native_log: str = "",
    ) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.native_log = native_log


class Crashed(ContainedFailure):
    """The child process ended by a signal, or without an answer."""


class TimedOut(ContainedFailure):
    """The child process gave no answer in time, and was killed."""


class OutOfMemory(ContainedFailure):
    """The child process hit its memory limit."""


class OutputNotWritten(ModelcheckError):
    """The output could not be written; what was there before is still there."""

    exit_code = 7


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """ "Did you mean 'x'?" for the nearest known word, or None when nothing is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"Did you mean '{near[0]}'?" if near else None


def printable(name: str | bytes, limit: int = 80) -> str:
    """A name as it may stand in a message: one line, at most `limit` characters, no control codes.

    Names come from files that others wrote: a megabyte long, or with codes that move the cursor.
    """
    text = name.decode("utf-8", "backslashreplace") if isinstance(name, bytes) else name
    if len(text) <= limit and text.isprintable():
        return text
    text = "".join(c if c.isprintable() else _escape(c) for c in text[: 2 * limit])
    if len(text) <= limit and len(name) <= 2 * limit:
        return text
    return text[: limit - 1] + "…"


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
