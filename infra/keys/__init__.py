"""The keys that seal personal fields, kept outside the log."""
