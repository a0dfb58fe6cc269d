"""Sample data with planted errors, as `nlclean demo` copies them: packaged as `nlclean.samples`."""
