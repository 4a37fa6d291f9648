"""The doppler contract: push contacts of web domains, messages to them, and what came of those."""
