"""The wire: OpenStack's APIs and Nacelle's own, one package for each."""
