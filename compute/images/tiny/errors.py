"""What can go wrong while the tiny guest image is built."""


class BuildError(Exception):
    """The image could not be built; the message is one sentence for the person who runs the build."""
