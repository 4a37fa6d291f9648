"""How a message looks as a notification, and what its links and ids say when it comes back."""
