"""The benchmarks: `make bench`. Each figure is measured on a Nacelle of its own, and stands beside its goal."""
