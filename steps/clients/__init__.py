"""Outside systems, each behind a thin client."""
