"""What each kind of server says of itself, and what it should be started with."""
