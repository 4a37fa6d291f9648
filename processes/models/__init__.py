"""Read models kept up to date, built anew and compared with the log."""
