"""From an accepted message to its dispatches, and to its final totals."""
