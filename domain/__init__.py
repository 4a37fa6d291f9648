"""What is true of the exchange: aggregates, their events, and policies.

Pure: no input or output, no asyncio, no clock and no randomness. Time and ids are arguments.
"""
