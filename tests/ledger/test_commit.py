"""The commit is what git itself says."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from modelcheck.ledger.commit import commit_of

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")


def git(folder: Path, *words: str) -> str:
    identity = ("-c", "user.name=T", "-c", "user.email=t@example.org")
    return subprocess.run(
        ["git", *identity, *words], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-q")
    return folder


def test_is_that_of_the_branch_loose_packed_detached_or_in_a_worktree(repository: Path) -> None:
    assert commit_of(repository) == ""
    git(repository, "commit", "-q", "--allow-empty", "-m", "one")
    head = git(repository, "rev-parse", "HEAD")
    inner = repository / "a" / "b"
    inner.mkdir(parents=True)
    assert commit_of(repository) == commit_of(inner) == head
    git(repository, "pack-refs", "--all")
    assert commit_of(repository) == head
    git(repository, "worktree", "add", "-q", "-b", "other", "../other")
    git(repository, "commit", "-q", "--allow-empty", "-m", "two")
    assert commit_of(repository.parent / "other") == head
    assert commit_of(repository) == git(repository, "rev-parse", "HEAD") != head
    git(repository, "checkout", "-q", "--detach")
    assert commit_of(repository) == git(repository, "rev-parse", "HEAD")


@pytest.mark.parametrize("head", ["", "ref: refs/heads/../../x", "\x00\xff", "z" * 40])
def test_of_a_damaged_repository_is_none(tmp_path: Path, head: str) -> None:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_text(head, encoding="latin-1")
    assert commit_of(tmp_path) == ""
