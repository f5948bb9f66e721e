"""Several files that a run writes beside each other: all new or by force, or none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from modelcheck.errors import UsageError, printable
from modelcheck.model.atomic import atomic_write, check_output, check_writable, output_lock


@dataclass(frozen=True)
class Files:
    """Paths to write, beside each other; empty where nothing is to be written."""

    paths: tuple[Path, ...]
    force: bool

    def check_inputs(self, inputs: Iterable[Path]) -> None:
        """Nothing that is read may be written."""
        inputs = list(inputs)
        for path in self.paths:
            check_output(path, inputs, force=self.force)


@contextmanager
def held(paths: tuple[Path, ...], *, force: bool) -> Iterator[Files]:
    """The files as this run's own; checked before the work and not after it."""
    files = Files(paths, force)
    with ExitStack() as stack:
        files.check_inputs(())
        for path in paths:
            check_writable(path)
            stack.enter_context(output_lock(path))
        yield files


def check_suffix(path: Path | None, suffix: str, what: str) -> None:
    """Raise UsageError where a file is named as something that it will not be."""
    if path is not None and path.suffix != suffix:
        raise UsageError(
            what, where=printable(str(path)), remedy=f"Write -o {printable(path.stem)}{suffix}."
        )


def write_texts(texts: Mapping[Path, str]) -> None:
    """Each whole or not at all."""
    for path, text in texts.items():
        with atomic_write(path) as file:
            file.write(text.encode("utf-8", "backslashreplace"))
