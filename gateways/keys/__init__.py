"""What providers want signed or encrypted: ES256, Google's access token, web push."""
