"""``python -m userservice``."""

from userservice.app.cli import main

main()
