"""Reading questions and answers by people: what they decide is kept beside the built set and used when it is loaded."""

from .decisions import Decision, apply_decisions, read_decisions

__all__ = ["Decision", "apply_decisions", "read_decisions"]
