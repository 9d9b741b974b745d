"""`mmpatchconvnet check`, for people with a clone."""

from mmpatchconvnet.cli import main

if __name__ == '__main__':
    main('check')
