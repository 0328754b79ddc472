"""The service's paths, by what they are for."""
