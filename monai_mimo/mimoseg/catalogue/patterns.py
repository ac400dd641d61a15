"""Patterns of paths, as the records write them: `case_{patient}/imaging.nii.gz`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property


class Pattern:
    """A path below the folder of a set, with fields.

    `{name}` stands for one or more characters other than "/", `{name:regex}` for what the regular expression matches; a
    field that comes twice has the same text in both places. `*` is anything but "/", and `**` anything at all.

    Args:
        text: the pattern.
        fills: field -> the only texts that may stand for it.
        like: another pattern, whose regular expressions hold for fields that have none here.

    Raises:
        ValueError: a brace is not closed, a name is no identifier, or a regular expression is wrong.
    """

    def __init__(
        self, text: str, fills: Mapping[str, Sequence[str]] | None = None, like: Pattern | None = None
    ) -> None:
        self.text, self.fills = text, dict(fills or {})
        self.parts = list(_parts(text))
        own = {name: expression for kind, name, expression in self.parts if kind == "field" and expression}
        self.expressions: dict[str, str] = {**(like.expressions if like else {}), **own}
        try:
            self.regex  # noqa: B018  (a wrong one is found here)
        except re.error as error:
            raise ValueError(f"pattern {text!r}: {error}") from error

    @cached_property
    def fields(self) -> list[str]:
        """Names of the fields, in order."""
        return list(dict.fromkeys(name for kind, name, _ in self.parts if kind == "field"))

    @cached_property
    def regex(self) -> re.Pattern[str]:
        """For a whole path with "/" between its parts."""
        out, seen = [], set()
        for kind, value, _ in self.parts:
            if kind == "text":
                out.append(re.escape(value))
            elif kind == "wildcard":
                out.append({"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*"}[value])
            elif value in seen:
                out.append(f"(?P={value})")
            else:
                seen.add(value)
                out.append(f"(?P<{value}>{self._expression(value)})")
        return re.compile("".join(out))

    def match(self, path: str) -> dict[str, str] | None:
        """The fields of a path, or none when the path is another one."""
        found = self.regex.fullmatch(path)
        return found.groupdict() if found else None

    def fill(self, fields: Mapping[str, str]) -> str:
        """The path with these fields; what is not known stays as it is written in the pattern."""
        out = []
        for kind, value, _ in self.parts:
            out.append(fields.get(value, f"{{{value}}}") if kind == "field" else value)
        return "".join(out)

    def _expression(self, name: str) -> str:
        if name in self.fills:
            longest_first = sorted(self.fills[name], key=len, reverse=True)
            return "|".join(map(re.escape, longest_first)) or "(?!)"
        return self.expressions.get(name, "[^/]+")


def _parts(text: str) -> list[tuple[str, str, str]]:
    """("text", text, ""), ("wildcard", "*", "") and ("field", name, regular expression), in order."""
    parts, place = [], 0
    while place < len(text):
        if text[place] == "{":
            end = _closing(text, place)
            name, _, expression = text[place + 1 : end].partition(":")
            if not name.isidentifier():
                raise ValueError(f"pattern {text!r}: {name!r} is not the name of a field")
            parts.append(("field", name, expression))
            place = end + 1
        elif wildcard := re.match(r"\*\*/|\*\*|\*", text[place:]):
            parts.append(("wildcard", wildcard[0], ""))
            place += len(wildcard[0])
        else:
            plain = re.match(r"[^{*]+", text[place:])
            assert plain is not None
            parts.append(("text", plain[0], ""))
            place += len(plain[0])
    return parts


def _closing(text: str, start: int) -> int:
    """Where the brace that opens at `start` is closed; a regular expression may hold braces of its own."""
    depth = 0
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return place
    raise ValueError(f"pattern {text!r}: a brace is not closed")
