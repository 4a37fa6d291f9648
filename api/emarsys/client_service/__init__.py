"""The client service: register, push token, who uses the client, moving to another app, geofences."""
