"""Whose a device is, and what proves it: client states, contact tokens, id tokens."""
