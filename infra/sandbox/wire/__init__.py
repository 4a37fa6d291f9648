"""The protocols that the sandbox speaks, and the ports it does so at."""
