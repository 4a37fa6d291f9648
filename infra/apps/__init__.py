"""Apps as every call sees them: from memory, from the bucket that all processes share, from their source."""
