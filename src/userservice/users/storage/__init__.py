"""Where users are kept: one repository interface, and what implements it."""
