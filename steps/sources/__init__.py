"""Where purchases come from, one module a kind of source."""
