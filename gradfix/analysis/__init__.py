"""What autograd will see when this code runs: an abstract interpreter over the standard library's `ast`.

`analyse(source)` is the only door; everything it returns is a frozen value of `gradfix.analysis.facts`.
"""
