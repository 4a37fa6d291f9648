"""Appends to streams, committed in groups."""
