"""From a message to open sockets."""
