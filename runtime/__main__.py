"""`python3 -m runtime`: the commands. The first lines must stay readable to any Python since 2.7."""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - reached by the Pythons that it is about
    sys.stderr.write("The connector runtime needs Python 3.11 or newer; this is %d.%d.\n" % sys.version_info[:2])  # noqa: UP031 - as above
    sys.exit(1)

from runtime.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
