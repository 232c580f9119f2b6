"""Parts of `benchmarks/search_quality.py`: instances, peers, our methods, studies and their summaries."""
