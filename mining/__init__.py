"""From logs to candidate pairs."""
