"""`python -m mmpatchconvnet`: the console command if it is not on the PATH."""

from mmpatchconvnet.cli import main

if __name__ == '__main__':
    main()
