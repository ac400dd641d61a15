"""Source sets: finding their layout, listing their cases, and reading the slices of a case with their masks."""
