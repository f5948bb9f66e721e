"""Channels as atoms: which channel of which value depends on which, and what ties them.

Every layer with weights gives its output channels fresh *atoms*. A value's *layout* is an array of
atoms of the value's rank, of size 1 along axes that carry no channels: (1, C, 1, 1) behind a
convolution, (2, C/2, 1) in the middle of a channel shuffle. Movement (Concat, Slice, Reshape,
Transpose) moves atoms as it moves elements. An operator that makes new values out of old ones
*follows* them: fresh atoms, each of the same *class* as what it was made of.

A permutation is one of classes. It is applied by giving every array of constants that meets a
layout the new order, so two classes may change places only where each of those arrays, and each
origin of atoms, holds both equally often: that is what the *marks* of a class record. Classes
that meet an operator this house does not know, or an output of the graph, are pinned.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

Atoms = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Edit:
    """Reorder one axis of a constant input of a node, to match the atoms that lie along it.

    With `groups` > 1 axis 0 of the array falls into that many blocks, atoms[j] belong to block j,
    and each block's `axis` is reordered on its own (the weights of a grouped convolution).
    """

    node: ir.Node
    index: int
    axis: int
    atoms: Atoms  # (n,) or (groups, n)
    groups: int = 1


class Trace:
    """Atoms, classes and marks of one graph; filled by the rules, then asked for cells."""

    def __init__(self) -> None:
        self.layouts: dict[ir.Value, Atoms] = {}
        self.edits: list[Edit] = []
        self._class: list[int] = []  # union-find: the parent of each atom
        self._origin: list[int] = []
        self._origins = 0
        self._pinned: set[int] = set()
        self._marks: list[tuple[int, Hashable]] = []

    def layout(self, value: ir.Value | None) -> Atoms | None:
        """The layout of a value that carries at least two channels."""
        found = None if value is None else self.layouts.get(value)
        return None if found is None or found.size < 2 else found

    def fresh(self, n: int) -> Atoms:
        """n new atoms of one new origin, each a class of its own."""
        start = len(self._class)
        atoms = np.arange(start, start + n)
        self._class.extend(range(start, start + n))
        self._origin.extend([self._origins] * n)
        self._marks.extend((a, ("origin", self._origins)) for a in range(start, start + n))
        self._origins += 1
        return atoms

    def follow(self, layouts: Sequence[Atoms]) -> Atoms:
        """Atoms of a value made elementwise of values with these layouts, all of one shape."""
        rows = np.stack([a.reshape(-1) for a in layouts], axis=1)
        distinct, places = np.unique(rows, axis=0, return_inverse=True)
        made = self.fresh(len(distinct))
        for atom, row in zip(made.tolist(), distinct.tolist(), strict=True):
            for source in row:
                self._unite(source, atom)
            # Where one operand is pieced together, only equal pieces may change places.
            self._marks.append((atom, ("of", *(self._origin[a] for a in row))))
        return made[places.reshape(-1)].reshape(layouts[0].shape)

    def tie(self, a: Atoms, b: Atoms) -> None:
        """Make a and b, of one shape, the same classes position by position."""
        for x, y in zip(a.reshape(-1).tolist(), b.reshape(-1).tolist(), strict=True):
            self._unite(x, y)

    def mark(self, label: Hashable, atoms: Atoms) -> None:
        """Record that `atoms` lie, as often as they are given, in one array called `label`."""
        self._marks.extend((a, (label, self._origin[a])) for a in atoms.reshape(-1).tolist())

    def pin(self, value: ir.Value | None) -> None:
        """The channels of this value stay where they are."""
        if value is not None and value in self.layouts:
            self.pin_atoms(self.layouts[value])

    def pin_atoms(self, atoms: Atoms) -> None:
        self._pinned.update(atoms.reshape(-1).tolist())

    def edit(self, node: ir.Node, index: int, axis: int, atoms: Atoms, groups: int = 1) -> None:
        """Have axis `axis` of a constant input follow `atoms`: (n,), or (groups, n)."""
        self.edits.append(Edit(node, index, axis, atoms, groups))
        for block, row in enumerate(atoms.reshape(groups, -1)):
            self.mark((id(node), index, axis, block), row)

    def cells(self) -> list[list[int]]:
        """Sets of at least two classes whose members may change places."""
        roots = [self._find(a) for a in range(len(self._class))]
        fixed = {roots[a] for a in self._pinned}
        seen: set[tuple[int, int]] = set()
        for root, origin in zip(roots, self._origin, strict=True):
            if (root, origin) in seen:
                fixed.add(root)  # two channels of one layer in one class: not a permutation
            seen.add((root, origin))
        marks: defaultdict[int, list[int]] = defaultdict(list)
        labels: dict[Hashable, int] = {}
        for atom, label in self._marks:
            marks[roots[atom]].append(labels.setdefault(label, len(labels)))
        alike: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
        for root in dict.fromkeys(roots):
            if root not in fixed:
                alike[tuple(sorted(marks[root]))].append(root)
        return [members for members in alike.values() if len(members) > 1]

    def lift(self, moves: dict[int, int]) -> Atoms:
        """From a permutation of classes to one of atoms: each stays within its origin."""
        roots = [self._find(a) for a in range(len(self._class))]
        by_place = {(o, r): a for a, (o, r) in enumerate(zip(self._origin, roots, strict=True))}
        lifted = np.arange(len(roots))
        for atom, (origin, root) in enumerate(zip(self._origin, roots, strict=True)):
            if root in moves:
                lifted[atom] = by_place[origin, moves[root]]
        return lifted

    def _find(self, atom: int) -> int:
        parent = self._class
        while parent[atom] != atom:
            parent[atom] = parent[parent[atom]]
            atom = parent[atom]
        return atom

    def _unite(self, a: int, b: int) -> None:
        a, b = self._find(a), self._find(b)
        if a != b:
            self._class[max(a, b)] = min(a, b)


def order(atoms: Atoms, lifted: Atoms) -> npt.NDArray[np.intp]:
    """Which old position each new one takes: new[k] = old[order[k]].

    Position k, which held atom a, now holds lifted[a]; where an atom occurs more than once, the
    t-th occurrence takes the place of the t-th.
    """
    wanted = lifted[atoms]
    there, here = np.argsort(atoms, kind="stable"), np.argsort(wanted, kind="stable")
    assert np.array_equal(atoms[there], wanted[here]), "the permutation leaves its array"
    result = np.empty_like(there)
    result[here] = there
    return result
