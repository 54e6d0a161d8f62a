"""`python -m keensight` is `keensight`."""

from keensight.cli import main

main()
