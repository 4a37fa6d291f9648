"""The embedded read store."""
