"""Stage 5: adapters converted for other libraries, and checked."""
