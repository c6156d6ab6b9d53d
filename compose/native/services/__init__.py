"""Each service: how it is installed, configured, started, asked whether it is ready."""
