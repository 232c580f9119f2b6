"""Weight-sharing networks, and the methods that search in them by gradients."""
