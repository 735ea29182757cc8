"""What a step leaves for the next, one module an edge of the DAG."""
