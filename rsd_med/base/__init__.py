"""What every room shares: settings, errors with exit codes, derived randomness, the shell of a command."""
