"""`mimo build`: what is to be built, one case after another, and the files of the built set."""
