"""One command a file: SUMMARY, EXAMPLES, OPTIONS (a class) and ``run(options, as_json) -> exit code``."""
