"""`python -m ukulele`: the same as `uke`."""

from ukulele.cli import main

main()
