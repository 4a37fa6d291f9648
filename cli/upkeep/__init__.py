"""What operators' commands do: looking an exchange over, rebuilding read models, copies of the log."""
