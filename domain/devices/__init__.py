"""What devices tell and are told, beside the client itself."""
