"""The bodies of requests and answers: what the service and the client both speak."""
