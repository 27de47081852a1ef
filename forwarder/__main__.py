"""`python -m forwarder` is `forwarder`."""

from forwarder.cli import main

main()
