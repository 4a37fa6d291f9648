"""NATS: the server as a child, the connection, JetStream's requests and the streams' settings."""
