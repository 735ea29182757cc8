"""Models: arrays in, files out. Nothing here touches a network, and importing this package imports no framework."""
