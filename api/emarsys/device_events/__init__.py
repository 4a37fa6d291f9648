"""Device events: what a request of them holds, what is kept of it, and what the device is told to do."""
