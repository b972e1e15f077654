"""`python -m gradfix`, and the console script."""

from gradfix.command_line.cli import main

if __name__ == "__main__":
    main()
