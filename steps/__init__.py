"""The steps of the pipeline: every file is a program, every folder a library."""
