"""One module per framework, each imports only its own."""
