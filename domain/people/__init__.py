"""Contacts as others know them: how apps name them, what a suite is told of them, how they leave by mail."""
