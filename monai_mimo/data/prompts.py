"""The kinds of prompt tokens, numbered as in SAM. A box is two tokens, its corners."""

NEGATIVE, POSITIVE, BOX_TOP_LEFT, BOX_BOTTOM_RIGHT, PADDING = 0, 1, 2, 3, -1
