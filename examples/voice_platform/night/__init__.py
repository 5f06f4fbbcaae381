"""What happens to the platform in one night, and the record of it."""
