"""E-mail: what it says, and the two ways it goes."""
