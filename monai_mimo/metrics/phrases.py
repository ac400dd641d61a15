"""When two phrases count as the same."""

from __future__ import annotations

import re
import unicodedata

ARTICLES = re.compile(r"^(the|a|an) ")


def normalise_phrase(phrase: str) -> str:
    """Compatibility-composed Unicode, lower case, punctuation and runs of space as one space, no leading article.

    Applied to predictions and references alike.
    """
    words = re.sub(r"[\W_]+", " ", unicodedata.normalize("NFKC", phrase).casefold()).strip()
    return ARTICLES.sub("", words)
