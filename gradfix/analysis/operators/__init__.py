"""What torch does: its operators, factories, layers, optimizers and autograd calls, on abstract operands."""
