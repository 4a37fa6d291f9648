"""What each app sends with: its settings, its VAPID key, its notifications' links."""
