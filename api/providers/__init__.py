"""What providers post to us about messages we sent: whom to believe, and what a report leads to."""

from api.providers.believed import Providers

__all__ = ["Providers"]
