"""The backward check: the original and the rewritten text run side by side under guard, and are judged.

`cases` finds what there is to run, `checker.Checker` runs and judges. The modules named `worker*` run in the
user's interpreter, where gradfix isn't installed: they are loaded by path and use the standard library and torch.
"""
