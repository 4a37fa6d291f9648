"""The MSGXC contract, one module per group of routes. No rules live here: those are in domain and commands."""
