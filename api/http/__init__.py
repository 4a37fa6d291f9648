"""HTTP as it is read and written: heads and bodies, bounded in bytes and time, and what every answer has."""
