"""The perspectives, in which questions are asked, by number."""

from __future__ import annotations

NUMERALS = ("VQA", "I", "II", "III", "IV", "V")  # as they are called; VQA has no masks
PERSPECTIVES = (1, 2, 3, 4, 5)
MEASURED = 5  # asked of any masks, whatever a record allows, and counted apart: the published table has four
