"""Setting up and running: the base data of a new cloud, and the processes."""
