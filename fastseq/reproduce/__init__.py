"""The four published experiments: run them, time them, report on them."""
