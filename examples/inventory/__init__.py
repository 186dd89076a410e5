"""A second service on the same stack: it shows that the stack knows nothing of users."""
