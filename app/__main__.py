"""`python -m app` is the console script `polylens`."""

from app.cli import main

main()
