"""What `msgxc serve` and each role alone run: roles, their processes, the web server."""
