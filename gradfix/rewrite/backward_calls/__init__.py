"""Where gradients are asked for: roots of several elements, second backwards, gradients of what was computed."""
