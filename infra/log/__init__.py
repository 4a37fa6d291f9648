"""The log as processes and sockets use it: ordered reads, shared work, appends, the feed."""
