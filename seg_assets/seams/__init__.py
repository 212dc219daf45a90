"""Private names and file formats of other libraries, a file each, each behind a switch with a plain way beside it.

Not here: public names of other libraries, which any room may use.
"""
