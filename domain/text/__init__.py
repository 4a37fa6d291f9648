"""What outsiders write: numbers and times, words nearly right, JSON that is too deep."""
