"""Where tasks run: in this process, or in a pool of worker processes. Nothing here knows what a task does."""
