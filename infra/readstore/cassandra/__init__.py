"""The production read store."""
