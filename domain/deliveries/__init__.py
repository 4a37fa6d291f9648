"""A message's way to its audience: channels, routing, records, outcomes, further tries."""
