"""The golden lake: proof that a change of code changed no content.

A small history is built by command line alone and compared with a committed record of every file, decision and name. No
module of the product is imported, so the record outlives any move of modules. What a shop is worth testing for is not
decided by this package; promises are tests of their own.
"""
