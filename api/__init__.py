"""HTTP, server-sent events and web sockets: the exchange's front door. It translates and never decides.

Start at app.py (how it is put together), route.py (what a route declares) and endpoint.py (one request's way).
"""
