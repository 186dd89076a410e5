"""The domain: what a user is, which rules it keeps, and how it is stored and watched."""
