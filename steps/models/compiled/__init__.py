"""Loops that numba compiles, for data so large that compiling takes less time than it saves."""
