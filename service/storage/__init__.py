"""What outlives the process: added items and sessions."""
