"""The application: the command line, the runner, run folders and pages, apart from the library that others import."""
