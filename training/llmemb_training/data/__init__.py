"""The prepared dataset: written by `prepare`, read by all later steps. Imports the configuration and the sources."""
