"""The shell: settings, command line, wiring and lifecycle."""
