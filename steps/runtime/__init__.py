"""What every program shares: errors and exit codes, settings, logging, progress, outputs."""
