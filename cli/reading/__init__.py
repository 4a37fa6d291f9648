"""How commands read the log, show facts and write them into files."""
