"""The read stores: SQLite (embedded) and Cassandra behind one class, and their schemas from the declared tables."""
