"""Logs, and figures for /metrics."""
