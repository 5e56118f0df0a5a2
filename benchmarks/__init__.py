"""What Lutra measures of itself: `python -m benchmarks.<name> --help`."""
