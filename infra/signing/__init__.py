"""Keys that tokens for devices are signed with: from files, the environment or Google Secret Manager."""
