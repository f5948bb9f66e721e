"""A process that, for each line on its stdin, forks a child that saves until it is killed.

Forked, because a new interpreter takes a second to start. The child saves two models in turn; its
process id is printed, and after the next line on stdin it is reaped.
Arguments: the output, 'inline' or 'external', 'nameless' or 'named' (how unfinished files live).
"""

from __future__ import annotations

import itertools
import os
import sys
from pathlib import Path

from small_models import convnet, tensor, weight

from modelcheck.model import Model
from modelcheck.model.saving import save


def variants() -> tuple[Model, Model]:
    """Two models of different size and content."""
    small, large = convnet(), convnet()
    large.graph.initializer.append(weight("unused", 300_000))
    tensor(small, "gb").CopyFrom(weight("gb", 5, seed=1))
    return Model.from_proto(small), Model.from_proto(large)


def main() -> None:
    output, form, unfinished = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    if unfinished == "named":
        del os.O_TMPFILE  # as on a file system that lacks it
    models = variants()
    for model in models:
        _ = model.payloads, model.digest  # once, not in every child
    for _ in sys.stdin:
        child = os.fork()
        if not child:
            for model in itertools.cycle(models):
                save(model, output, external_data=form == "external")
        print(child, flush=True)
        sys.stdin.readline()
        os.waitpid(child, 0)
        print("reaped", flush=True)


if __name__ == "__main__":
    main()
