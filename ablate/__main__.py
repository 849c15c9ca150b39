"""`python -m ablate`: the same as the command `ablate`."""

from ablate.cli.app import main

if __name__ == "__main__":  # a worker process imports this module under another name
    main()
