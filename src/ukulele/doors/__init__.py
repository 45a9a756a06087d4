"""What a user calls: a file for each command, and what it shows."""
