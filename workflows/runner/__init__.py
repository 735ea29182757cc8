"""What runs a built workflow on one machine: expressions, tags, the walk, processes, the record."""
