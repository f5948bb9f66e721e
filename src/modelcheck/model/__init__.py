"""Models as immutable values: loading, checking, saving, looking inside."""

from modelcheck.model.loading import load
from modelcheck.model.model import Model, Signature, TensorSpec
from modelcheck.model.saving import save

__all__ = ["Model", "Signature", "TensorSpec", "load", "save"]
