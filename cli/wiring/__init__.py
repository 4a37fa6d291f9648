"""Parts of the object graph that the bootstrap and the roles put together, each from the settings."""
