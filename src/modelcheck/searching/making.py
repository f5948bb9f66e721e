"""Models that steps make, each beginning of a chain made once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from modelcheck.model import Model
from modelcheck.transforms import Context, Transform

_KEPT = 96  # models; they share the weights that no step changed
_Key = tuple[str, ...]


@dataclass
class Maker:
    """Applies steps to a model. Steps are pure, so what two chains begin with is applied once."""

    model: Model
    context: Context
    _made: OrderedDict[_Key, Model] = field(default_factory=OrderedDict)

    def __call__(self, steps: Sequence[Transform]) -> Model:
        model, key = self.model, _Key()
        for step in steps:
            key = (*key, f"{step.name} {dict(step.options)!r}")
            if key not in self._made:
                self._made[key] = step(model, self.context)
                while len(self._made) > _KEPT:
                    self._made.popitem(last=False)
            else:
                self._made.move_to_end(key)
            model = self._made[key]
        return model
