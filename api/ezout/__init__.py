"""The EzOut contract: what tills publish, and what merchants see of it."""
