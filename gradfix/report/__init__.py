"""Results as text: values in, a string out. Nothing here prints or knows a terminal."""
