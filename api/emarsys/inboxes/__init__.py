"""Inboxes, in-line messages and the tags that devices give to messages."""
