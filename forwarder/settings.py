"""The settings: environment variables and an env file, nothing else. Environment wins."""
