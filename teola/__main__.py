"""`python -m teola` is the command `teola`."""

from teola.cli.main import main

if __name__ == "__main__":
    main()
