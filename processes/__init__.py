"""Facts in, commands or dispatches out: what happens by itself after a fact is on the log."""
