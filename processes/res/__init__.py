"""Shops for RES gateways."""
