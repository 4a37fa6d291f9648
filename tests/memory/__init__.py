"""In-memory implementations of the ports: faithful ones, held to the same suites as the real ones.

They keep the real wire form, so a fact that does not survive its way to the log and back does not survive here.
"""
