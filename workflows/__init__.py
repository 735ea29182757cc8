"""The DAGs, defined once in Hera, and the ways to run them."""
