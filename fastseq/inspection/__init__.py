"""Watch a network think: what each unit does while a language model reads a text."""

from .inspector import Inspection, inspect

__all__ = ["Inspection", "inspect"]
