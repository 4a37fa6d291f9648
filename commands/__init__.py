"""The write side: one handler per command.

A handler loads, calls one aggregate method and saves; nothing else changes state.
"""
