"""One real Cassandra node from its published jars, for tests and local runs: no container engine needed."""
