"""The search engine where users of other tuners already are: adapters that load those tuners only when imported."""
