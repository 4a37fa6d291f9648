"""What is asked with nearly every call, answered from memory or once for all who ask."""
