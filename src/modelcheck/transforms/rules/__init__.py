"""The rules of `rewrite`: one file a family, each with its algebra and why it is worth having."""

from modelcheck.transforms.rules.rule import Rule, Site

__all__ = ["Rule", "Site"]
