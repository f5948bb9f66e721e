"""What is known of a graph's values without running it: dimensions and constants."""

from modelcheck.model.static.dims import Dims, broadcast, ints, product
from modelcheck.model.static.known import Static

__all__ = ["Dims", "Static", "broadcast", "ints", "product"]
