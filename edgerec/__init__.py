"""Make image-recognition models small and fast for a device, and prove it with measurements."""

__version__ = "0.1.0"
