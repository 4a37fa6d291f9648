"""The connection to a NATS server, and its protocol as bytes."""
