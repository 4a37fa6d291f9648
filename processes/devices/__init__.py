"""What follows from devices: contacts resolved, states told, clicks and triggers, news for suites."""
