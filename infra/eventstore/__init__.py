"""Aggregates in and out of the log: the wire form, sealing, the store, and the library's own recorder."""
